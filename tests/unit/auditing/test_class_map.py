"""How classes of the data are found among the model's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from lightning_vlmxai.auditing import MergedOutputs, map_classes, read_labels
from lightning_vlmxai.errors import ConfigurationError

MODEL = ("tabby", "Persian cat", "golden_retriever", "crane", "crane", "aeroplane")


def test_names_match_whatever_their_case_and_spaces() -> None:
    """Each to the model's own number; outputs stay as they are."""
    found = map_classes(["Golden Retriever", "persian-cat"], MODEL, {})
    assert found.targets == (2, 1)
    assert found.names == MODEL
    assert not found.merges


def test_several_classes_of_the_model_become_one_of_the_data() -> None:
    """Under the data's name; the others keep theirs, and their order."""
    found = map_classes(["Cat", "crane"], MODEL, {"Cat": ["tabby", "Persian cat"], "crane": "3-4"})
    assert found.names == ("Cat", "golden_retriever", "crane", "aeroplane")
    assert found.targets == (0, 2)
    assert found.members == ((0, 1), (2,), (3, 4), (5,))


@pytest.mark.parametrize("shape", [(7, 6), (2, 6, 4, 5)])
def test_merged_probabilities_are_sums(shape: tuple[int, ...]) -> None:
    """Of the members' softmax, summed one by one; gradients flow to each of them."""
    members = ((0, 3), (1,), (2, 4, 5))
    logits = torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    logits.requires_grad_()
    merged = MergedOutputs(nn.Identity(), members)(logits).softmax(dim=1)
    single = logits.softmax(dim=1)
    for place, of in enumerate(members):
        literal = torch.zeros_like(single[:, 0])
        for number in of:
            literal = literal + single[:, number]
        torch.testing.assert_close(merged[:, place], literal)
    (gradient,) = torch.autograd.grad(merged[:, 0].sum(), logits)
    assert (gradient[:, [0, 3]] > 0).all()
    out = MergedOutputs(Mapping(), members)(logits.detach())
    torch.testing.assert_close(out.softmax(dim=1), merged.detach())


class Mapping(nn.Module):
    """Answers as torchvision's segmentation models do."""

    def forward(self, logits: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"out": logits, "aux": logits * 0}


def test_a_class_may_be_left_out() -> None:
    """By null, or a line with nothing behind the comma; a star stands for all that isn't found."""
    found = map_classes(["tabby", "person", "crane", "airplane"], MODEL, {"airplane": 5, "*": None})
    assert found.targets == (0, None, None, 5)
    assert map_classes(["tabby", "person"], MODEL, {"person": None}).targets == (0, None)
    assert map_classes(["tabby", "person"], MODEL, {"person": []}).targets == (0, None)


@pytest.mark.parametrize(
    ("data", "labels", "said"),
    [
        (["tabby", "airplane"], {}, r"1 of 2 .*: airplane.*: \"aeroplane\", \"\*\": null}"),
        (["crane"], {}, "1 of 1 that are not: crane"),
        (["crane"], {"crane": "crane"}, "which classes 3 and 4 are called. Pass the number"),
        (["cat"], {"cat": "tabbi"}, "Near: tabby"),
        (["cat"], {"cat": "4-9"}, "numbers from 0 to 5"),
        (["cat"], {"dog": "tabby"}, "classes of the data"),
        (["cat"], {"*": "tabby"}, "Pass null"),
        (["cat", "tom"], {"cat": 0, "tom": [0, 1]}, "'tabby' \\(0\\) for 'cat' and for 'tom'"),
    ],
)  # fmt: skip
def test_what_is_not_sure_is_asked_for(data: list[str], labels: dict[str, Any], said: str) -> None:
    """With a line that can be pasted; nothing is guessed."""
    with pytest.raises(ConfigurationError, match=said):
        map_classes(data, MODEL, labels)


def test_labels_are_read_from_csv_and_json(tmp_path: Path) -> None:
    """Or are given as JSON on the command line."""
    (tmp_path / "a.csv").write_text("cat,tabby,Persian cat\nperson,\n\n", encoding="utf-8-sig")
    (tmp_path / "a.json").write_text('{"cat": "tabby"}')
    assert read_labels(str(tmp_path / "a.csv")) == {"cat": ["tabby", "Persian cat"], "person": []}
    assert read_labels(str(tmp_path / "a.json")) == {"cat": "tabby"}
    assert read_labels('{"cat": [1, 2]}') == {"cat": [1, 2]}
    assert read_labels(None) == {}


@pytest.mark.parametrize("text", ["{", "nowhere.csv", "twice.csv"])
def test_labels_that_can_not_be_read_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    """With an example; a class on two lines as well."""
    monkeypatch.chdir(tmp_path)
    Path("twice.csv").write_text("cat,a\ncat,b\n")
    with pytest.raises(ConfigurationError, match=r"""Pass '{"cat": "tabby"}'"""):
        read_labels(text)

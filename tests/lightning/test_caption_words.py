"""Words of captions in a real Trainer, against the attribution called by hand."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch.nn.functional as F
from torch import Tensor

from captioned import (
    WORDS,
    Captioned,
    Contrastive,
    Features,
    Joint,
    Plain,
    Together,
    Towers,
    decode,
    fit,
    make_clip,
    make_transformers,
    scripted,
    tokenize,
)
from lightning_vlmxai import ConfigurationError, ImageText, Item, VLMExplainCallback
from lightning_vlmxai.attribution import explain_words
from lightning_vlmxai.explain import explain_captions
from lightning_vlmxai.explain.live import borrowed
from lightning_vlmxai.records import Explanation

SCALE = ((0.5,) * 3, (0.25,) * 3)


def run(tmp_path: Path, module: Contrastive, task: ImageText, **settings: Any) -> list[Explanation]:
    """Return the explanations of the last round of a fit."""
    given: dict[str, Any] = {"probe_size": 12, "method": "occlusion", "lag": 0} | settings
    callback = VLMExplainCallback(
        scripted(), task=task, normalization=SCALE, run_dir=tmp_path / "run", **given
    )
    fit(tmp_path, module, callback)
    assert callback.latest_round is not None
    return [sample.explanation for sample in callback.latest_round.samples]


def encoders(module: Contrastive) -> tuple[Any, Any]:
    """Return functions from pictures and from tokens to embeddings."""
    model: Any = module.model
    if hasattr(model, "encode_image"):
        return model.encode_image, model.encode_text

    def of_pictures(images: Tensor) -> Tensor:
        found = model.get_image_features(pixel_values=images)
        return getattr(found, "pooler_output", found)

    def of_texts(tokens: Tensor) -> Tensor:
        masked = {"attention_mask": (tokens > 0).long()} if isinstance(module, Together) else {}
        found = model.get_text_features(input_ids=tokens, **masked)
        return getattr(found, "pooler_output", found)

    return of_pictures, of_texts


@pytest.mark.parametrize(
    "make",
    [
        lambda: Towers(make_clip()),
        pytest.param(lambda: Joint(make_clip(output_dict=True)), marks=pytest.mark.slow),
        pytest.param(lambda: Together(make_transformers()), marks=pytest.mark.slow),
        pytest.param(lambda: Features(make_transformers("Siglip")), marks=pytest.mark.slow),
    ],
    ids=["towers", "joint", "transformers", "siglip"],
)
def test_shares_are_those_of_explain_words(make: Callable[[], Contrastive], tmp_path: Path) -> None:
    """One pair at a time by hand, with the picture's embedding held fixed."""
    module = make()
    found = run(tmp_path, module, ImageText(decode=decode))
    of_pictures, of_texts = encoders(module)
    with borrowed(module):
        for one in found:
            picture = Captioned(20, seed=1)[one.probe_index]["image"][None]
            fixed = F.normalize(of_pictures(picture), dim=1).detach()

            def score(tokens: Tensor, fixed: Tensor = fixed) -> Tensor:
                return (F.normalize(of_texts(tokens), dim=1) * fixed).sum(dim=1)

            tokens = tokenize([one.prediction_name])
            wanted = explain_words(module, tokens, score).relevance[0].tolist()
            words = one.prediction_name.split()
            assert [word for word, _ in one.words] == words
            assert [share for _, share in one.words] == pytest.approx(
                wanted[: len(words)], abs=1e-6
            )
            assert any(abs(share) > 1e-4 for _, share in one.words)
    lines = (tmp_path / "run" / "samples.jsonl").read_text("utf-8").splitlines()
    last = {(line["round"], line["probe"]): line for line in map(json.loads, lines)}
    for one in found:
        assert last[1, one.probe_index]["words"] == [list(word) for word in one.words]


def test_a_joint_call_embeds_each_picture_once_more_for_the_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The tower of pictures: once for their own embeddings, once along with captions, two rows."""
    module = Joint(make_clip(output_dict=True))
    rows: list[int] = []
    of_words: list[int] = []

    def counted(*given: Any, **more: Any) -> Any:
        before = sum(rows)
        found = explain_captions(*given, **more)
        of_words.append(sum(rows) - before)
        return found

    monkeypatch.setattr("lightning_vlmxai.callbacks.explaining.explain_captions", counted)
    module.model.visual.register_forward_hook(lambda _m, args, _o: rows.append(len(args[0])))
    run(tmp_path, module, ImageText(decode=decode), isolation="trust")  # it counts
    assert of_words[-1] == 12 + 12 + 2 * 2


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (lambda tokens: " ".join(WORDS[t].upper() for t in tokens), ""),
        (lambda tokens: f"{sum(tokens)} ", "isn't the caption"),
        (None, r"ImageText\(decode=tokenizer.decode\)"),
    ],
    ids=["fits", "other text", "none"],
)
def test_what_does_not_fit_the_caption_is_left_out_and_said(
    given: Any, told: str, tmp_path: Path
) -> None:
    """Captions here have no start and all begin with "a": without `decode` nothing is certain."""
    if told:
        with pytest.warns(UserWarning, match=f"12 of 12 captions no words are shown.*{told}"):
            found = run(tmp_path, Towers(make_clip()), ImageText(decode=given))
        assert all(one.words == () for one in found)
        assert '"words"' not in (tmp_path / "run" / "samples.jsonl").read_text("utf-8")
    else:
        found = run(tmp_path, Towers(make_clip()), ImageText(decode=given))
        assert all(len(one.words) == 4 for one in found)
    assert len(found) == 12


def test_a_tower_that_cannot_be_explained_costs_the_words_alone(tmp_path: Path) -> None:
    """A bag of words has no attention; its maps are there."""
    with pytest.warns(UserWarning, match="no words of captions are shown.*without attention"):
        found = run(tmp_path, Plain(), ImageText(decode=decode))
    assert len(found) == 12
    assert all(one.words == () for one in found)
    assert any(not one.is_blank for one in found)


def test_an_error_in_decode_costs_the_words_alone(tmp_path: Path) -> None:
    """What a user's function raises ends no round."""

    def broken(tokens: list[int]) -> str:
        raise KeyError("no such token")

    with pytest.warns(UserWarning, match="Explaining the words failed.*no such token"):
        found = run(tmp_path, Towers(make_clip()), ImageText(decode=broken))
    assert len(found) == 12
    assert all(one.words == () for one in found)


def test_decode_is_a_function() -> None:
    """A tokenizer itself is none."""
    with pytest.raises(ConfigurationError, match=r"decode=tokenizer\.decode"):
        ImageText(decode="decode")  # type: ignore[arg-type]


def test_each_picture_is_embedded_once_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where towers are called one by one: with words, one more picture a sample in each round."""
    counts = []
    for is_told in (True, False):
        if not is_told:
            monkeypatch.setattr(
                "lightning_vlmxai.callbacks.explaining.explain_captions",
                lambda _live, _bound, _probes, found, **_more: (found, ""),
            )
        module = Towers(make_clip())
        calls: list[int] = []
        module.model.visual.register_forward_hook(
            lambda _m, _a, out, calls=calls: calls.append(len(out))
        )
        folder = tmp_path / str(is_told)
        run(folder, module, ImageText(decode=decode), isolation="trust")
        counts.append(sum(calls))
    # The rehearsal and two rounds of twelve probes.
    assert counts[0] - counts[1] == 36


def test_without_decode_whole_words_behind_a_sure_start_are_told(tmp_path: Path) -> None:
    """Tokens all start with "a" and captions don't: the start is one, and each word a token."""

    def unpack(row: Any) -> Item:
        return Item(image=row["image"], target=None, caption=row["caption"][2:])

    module = Towers(make_clip())
    found = run(tmp_path, module, ImageText(), unpack=unpack)
    with borrowed(module):
        for one in found:
            picture = Captioned(20, seed=1)[one.probe_index]["image"][None]
            fixed = F.normalize(module.model.encode_image(picture), dim=1).detach()
            made = explain_words(
                module,
                tokenize([f"a {one.prediction_name}"]),
                lambda t, fixed=fixed: (
                    F.normalize(module.model.encode_text(t), dim=1) * fixed
                ).sum(dim=1),
            )
            assert [word for word, _ in one.words] == one.prediction_name.split()
            assert [share for _, share in one.words] == pytest.approx(
                made.relevance[0, 1:4].tolist(), abs=1e-6
            )

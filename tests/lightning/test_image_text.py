"""`ImageText` in a real Trainer, with modules that call their model in different ways."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from captioned import (
    Captioned,
    Contrastive,
    Features,
    Joint,
    Plain,
    Projected,
    Together,
    Towers,
    decode,
    fit,
    make_clip,
    make_data,
    make_trainer,
    make_transformers,
    scripted,
    tokenize,
)
from lightning_vlmxai import (
    AttributionError,
    ConfigurationError,
    Explanation,
    ImageText,
    Item,
    ProbeError,
    ReferenceMaskJudge,
    VLMAuditCallback,
    VLMExplainCallback,
    VLMJudge,
)
from openai_server import OpenAIServer, verdict

SCALE = ((0.5,) * 3, (0.25,) * 3)


def make_callback(tmp_path: Path, **settings: Any) -> VLMExplainCallback:
    """Return a callback that explains twelve probes by hiding windows."""
    given: dict[str, Any] = {
        "task": ImageText(decode=decode),
        "probe_size": 12,
        "normalization": SCALE,
        "method": "occlusion",
        "lag": 0,
        "run_dir": tmp_path / "run",
    }
    return VLMExplainCallback(**({"judge": scripted()} | given | settings))


def by_hand(
    module: Contrastive, indices: list[int], scale: float
) -> list[tuple[str, float, float, bool]]:
    """Return of each probe the caption that is nearest, its probability and cosine, and if right.

    One picture and one caption at a time.
    """
    rows = [Captioned(20, seed=1)[index] for index in indices]
    module.eval()
    found = []
    with torch.no_grad():
        own: dict[str, Tensor] = {}
        for row in rows:
            own[row["caption"]] = F.normalize(module.model.encode_text(row["tokens"][None]))[0]
        for row in rows:
            picture = F.normalize(module.model.encode_image(row["image"][None]))[0]
            cosines = {caption: float(picture @ text) for caption, text in own.items()}
            best = max(cosines, key=lambda caption: cosines[caption])
            powers = {c: torch.tensor(scale * v).double().exp() for c, v in cosines.items()}
            share = float(powers[best] / sum(powers.values()))
            found.append((best, share, cosines[best], best == row["caption"]))
    return found


class Unnamed(Towers):
    """Its batches have no words, only tokens."""

    def on_before_batch_transfer(self, batch: dict[str, Any], dataloader_idx: int) -> Any:
        return {key: value for key, value in batch.items() if key != "caption"}


def explained(callback: VLMExplainCallback) -> list[Explanation]:
    """Return the explanations of the last round."""
    assert callback.latest_round is not None
    return [sample.explanation for sample in callback.latest_round.samples]


class Losses(Contrastive):
    """`forward` answers with a number for each pair, and its transpose, as the first CLIP does."""

    def forward(self, images: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
        found = self.model.encode_image(images), self.model.encode_text(tokens)
        logits = self.model.logit_scale.exp() * F.normalize(found[0]) @ F.normalize(found[1]).T
        return logits, logits.T

    def loss(self, batch: dict[str, Any]) -> Tensor:
        logits, _ = self(images=batch["image"], tokens=batch["tokens"])
        return F.cross_entropy(logits, torch.arange(len(logits)))


@pytest.mark.parametrize(
    ("module", "settings", "network"),
    [
        (Joint, {"output_dict": True}, ""),
        (Joint, {}, ""),
        (Towers, {}, "model.encode_image"),
        (Losses, {}, "model.encode_image"),
    ],
)
def test_predicted_is_the_nearest_caption_whatever_a_step_calls(
    module: type[Contrastive], settings: dict[str, Any], network: str, tmp_path: Path
) -> None:
    """Captions, probabilities and right answers are those of one pair at a time, by hand."""
    judge = scripted()
    callback = make_callback(tmp_path, judge=judge)
    made = module(make_clip(**settings))
    fit(tmp_path, made, callback)
    found = explained(callback)
    scale = float(made.model.logit_scale.detach().exp())
    wanted = by_hand(made, [one.probe_index for one in found], scale)
    assert [(one.prediction_name, one.is_correct) for one in found] == [
        (w[0], w[3]) for w in wanted
    ]
    assert [one.confidence for one in found] == pytest.approx([w[1] for w in wanted], abs=1e-5)
    captions = {Captioned(20, seed=1)[one.probe_index]["caption"] for one in found}
    assert len(captions) == 6
    assert {one.label_name for one in found} == captions
    assert {r.label_name for r in judge.requests} <= captions
    told = json.loads((tmp_path / "run" / "run.json").read_text())
    assert told["network"] == network
    assert told["agreement"] == 1.0
    assert set(told["class_names"]) == captions
    assert (tmp_path / "run" / "report.html").is_file()
    assert callback.latest_round is not None
    assert callback.latest_round.metrics["attention_drift"] >= 0


@pytest.mark.parametrize(
    ("make", "network", "output"),
    [
        (lambda: Together(make_transformers()), "model", "image_embeds"),
        (lambda: Features(make_transformers()), "model.get_image_features", "pooler_output"),
        (lambda: Together(make_transformers("Siglip")), "model", "image_embeds"),
        (lambda: Features(make_transformers("Siglip")), "model.get_image_features", ""),
    ],
)
def test_models_of_transformers_are_read_as_they_are_called(
    make: Any, network: str, output: str, tmp_path: Path
) -> None:
    """Predictions are those of the model's own pairwise logits; SigLIP's sigmoids are its own."""
    callback = make_callback(tmp_path)
    module = make()
    fit(tmp_path, module, callback)
    found = explained(callback)
    told = json.loads((tmp_path / "run" / "run.json").read_text())
    assert told["network"] == network
    assert told["output"] == output or not output
    assert told["agreement"] == 1.0
    rows = [Captioned(20, seed=1)[one.probe_index] for one in found]
    names = list(told["class_names"])
    module.eval()
    with torch.no_grad():
        tokens = tokenize(names)
        masked = {"attention_mask": (tokens > 0).long()} if isinstance(module, Together) else {}
        pictures = torch.stack([row["image"] for row in rows])
        logits = module.model(input_ids=tokens, pixel_values=pictures, **masked).logits_per_image
    is_siglip = hasattr(module.model, "logit_bias")
    every = logits.sigmoid() if is_siglip else logits.softmax(dim=1)
    assert [one.prediction for one in found] == logits.argmax(dim=1).tolist()
    assert [one.confidence for one in found] == pytest.approx(every.amax(dim=1).tolist(), abs=1e-5)


@pytest.mark.filterwarnings("ignore:.*no words of captions")
def test_encoders_of_a_users_own_are_found_and_what_follows_them_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Two modules called one after the other are read; a line says that what follows isn't seen."""
    callback = make_callback(tmp_path)
    module = Plain()
    caplog.set_level("INFO")
    fit(tmp_path, module, callback)
    found = explained(callback)
    module.eval()
    with torch.no_grad():
        for one in found:
            row = Captioned(20, seed=1)[one.probe_index]
            picture = module.image_tower(row["image"][None])
            names = sorted({other.label_name for other in found})
            cosines = [
                float(F.cosine_similarity(picture, module.text_tower(tokenize([name]))))
                for name in names
            ]
            assert one.prediction_name == names[cosines.index(max(cosines))]
    assert "the answers of image_tower and text_tower; what a step makes of these" in caplog.text


@pytest.mark.parametrize(
    ("network", "told"),
    [("model.encode_image", "model.encode_image"), ("model.visual", "model.visual")],
)
def test_the_network_can_be_named_a_method_as_well(network: str, told: str, tmp_path: Path) -> None:
    """What a run says that it explains can be passed."""
    fit(tmp_path, Towers(make_clip()), make_callback(tmp_path, network=network))
    assert json.loads((tmp_path / "run" / "run.json").read_text())["network"] == told


def test_projections_called_in_the_step_are_refused_with_the_way_out(tmp_path: Path) -> None:
    """Two parts that may answer are named; with one named, the text's side is asked for."""
    with pytest.raises(ProbeError, match=r'network="model.of_picture"'):
        fit(tmp_path, Projected(), make_callback(tmp_path))
    callback = make_callback(tmp_path, network="model.of_picture")
    with pytest.raises(AttributionError, match=r"encode_text\(self, tokens\)"):
        fit(tmp_path, Projected(), callback)


def test_the_judge_needs_words_and_a_line_says_where_from(tmp_path: Path) -> None:
    """Without words captions are numbers to an embedded judge; one that reads needs them."""
    callback = make_callback(tmp_path, judge=ReferenceMaskJudge())
    fit(tmp_path, Unnamed(make_clip()), callback)
    assert {one.label_name for one in explained(callback)} == set("012345")
    judge = scripted()
    judge.needs_class_names = True  # type: ignore[attr-defined]
    with pytest.raises(ConfigurationError, match=r'caption=row\["caption"\]'):
        fit(tmp_path, Unnamed(make_clip()), make_callback(tmp_path, judge=judge))


def test_a_judge_reads_the_whole_caption(tmp_path: Path) -> None:
    """Captions are longer than classes: none is cut, and the question is about captions."""
    tail = "that somebody put on a table beside a window of a house at the end of a long street"

    def unpack(row: Any) -> Item:
        return Item(image=row["image"], target=None, caption=f"{row['caption']} {tail}")

    with OpenAIServer(lambda seen: verdict(seen.number % 6)) as server:
        judge = VLMJudge("m", base_url=server.base_url, api_key_env=None, cache=False)
        callback = make_callback(tmp_path, judge=judge, unpack=unpack)
        fit(tmp_path, Towers(make_clip()), callback)
    labels = {seen.label for seen in server.requests}
    assert labels
    assert labels <= {f"{row['caption']} {tail}" for row in Captioned(20, seed=1)}
    assert all("The caption that it finds nearest" in seen.text for seen in server.requests)
    assert judge.name in (tmp_path / "run" / "run.json").read_text("utf-8")
    assert judge.prompt_version != VLMJudge("m").prompt_version


def test_captions_of_one_picture_are_all_right(tmp_path: Path) -> None:
    """An id that `unpack` gives makes each caption of its picture right: here of one colour."""

    def unpack(row: Any) -> Item:
        return Item(image=row["image"], target=int(row["label"]), caption=row["caption"])

    callback = make_callback(tmp_path, unpack=unpack)
    fit(tmp_path, Towers(make_clip()), callback)
    for one in explained(callback):
        colour = Captioned(20, seed=1)[one.probe_index]["caption"].split()[1]
        assert one.is_correct == (one.prediction_name.split()[1] == colour)


def test_an_audit_refuses_captions_and_says_what_to_run(tmp_path: Path) -> None:
    """Rows of a stream can't be ranked among all captions."""
    with pytest.raises(ConfigurationError, match=r"VLMExplainCallback\(task=ImageText"):
        VLMAuditCallback(scripted(), task=ImageText())


@pytest.mark.filterwarnings("ignore:.*blank_saliency", "ignore:.*no words of captions")
def test_by_default_the_last_attention_is_explained_and_else_gradcam(tmp_path: Path) -> None:
    """A transformer is explained by "clip_exact"; a convolutional tower by Grad-CAM, as is said."""
    for made, wanted in ((Towers(make_clip()), "clip_exact"), (Plain(), "gradcam")):
        callback = make_callback(
            tmp_path,
            method=None,
            run_dir=tmp_path / wanted,
            faithfulness=["deletion", "insertion", "average_drop", "increase"],
        )
        if wanted == "gradcam":
            with pytest.warns(UserWarning, match=r'explains by "gradcam".*without attention'):
                fit(tmp_path, made, callback)
        else:
            fit(tmp_path, made, callback)
        told = json.loads((tmp_path / wanted / "run.json").read_text())
        assert told["method"] == wanted
        lines = (tmp_path / wanted / "samples.jsonl").read_text().splitlines()
        for sample in map(json.loads, lines):
            is_blank = sample["reason"] == "blank_saliency"
            values = list(sample["faithfulness"].values())
            assert len(values) == 4
            assert is_blank or None not in values


class Pairs(Losses):
    """`forward` answers with a number for each pair, and nothing else."""

    def forward(self, images: Tensor, tokens: Tensor) -> Any:
        return super().forward(images, tokens)[0]

    def loss(self, batch: dict[str, Any]) -> Tensor:
        logits = self(batch["image"], batch["tokens"])
        return F.cross_entropy(logits, torch.arange(len(logits)))


@pytest.mark.parametrize("batch_size", [8, 10])
def test_numbers_for_pairs_are_no_classes(batch_size: int, tmp_path: Path) -> None:
    """By the last batch's size, or a single row's, they are known; the task to pass is named."""
    trainer = make_trainer(tmp_path, make_callback(tmp_path, task=None))
    with pytest.raises(AttributionError, match=r"\[B, B\].*Pass `task=ImageText\(\)`"):
        trainer.fit(Pairs(make_clip()), make_data(), make_data(20, batch_size, seed=1))


def test_as_many_classes_as_rows_are_classes(tmp_path: Path) -> None:
    """A network that is given more than pictures may tell apart what a batch is long."""

    class Both(Pairs):
        def __init__(self, model: Any) -> None:
            super().__init__(model)
            self.head = torch.nn.Linear(24, 10)

        def forward(self, images: Tensor, tokens: Tensor) -> Any:
            return self.head(self.model.encode_image(images) + self.model.encode_text(tokens))

    trainer = make_trainer(tmp_path, make_callback(tmp_path, task=None))
    trainer.fit(Both(make_clip()), make_data(20, 10), make_data(20, 10, seed=1))
    assert trainer.global_step == 4

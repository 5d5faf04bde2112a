"""What a judge on loopback says it sees becomes the name of the shortcut."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dotted import DottedSquares, ReadsDots
from helpers_judge import make_judge
from lightning_vlmxai import VLMExplainCallback
from lightning_vlmxai.report.reader import read_run
from openai_server import OpenAIServer, Reply, Seen, completion
from run_folders import unpack
from tiny import loader, make_trainer


def answer(seen: Seen, phrase: str) -> Reply:
    """Return a judgement: a green dot is off the object, and all there is to see; else a 5."""
    red, green, blue = np.asarray(seen.pictures[0].convert("RGB"), dtype=int).transpose(2, 0, 1)
    is_dotted = bool(((green > 150) & (red < 80) & (blue < 80)).any())
    what = {"what": phrase if is_dotted else "square", "on_object": not is_dotted}
    judged = {"evaluation": "a", "justification": "b", "score": 1 if is_dotted else 5}
    return completion(json.dumps({**judged, "attends_to": [what]}))


@pytest.mark.parametrize(
    ("phrase", "named"),
    [
        ("The green dots", "green dot"),
        ("<b>green</b>\x1b[1m", "b green b 1m"),
        ("green " * 2000, " ".join(["green"] * 8)),
    ],
)
def test_the_words_reach_alert_files_and_page(tmp_path: Path, phrase: str, named: str) -> None:
    """With their denominators, in the alert as in `shortcuts.json` and the report."""
    with OpenAIServer(lambda seen: answer(seen, phrase)) as server:
        judge = make_judge(server.base_url, min_side=0)
        explain = VLMExplainCallback(judge, probe_size=24, find_shortcuts=True, run_dir=tmp_path)
        trainer = make_trainer(tmp_path, explain, max_epochs=2)
        data = loader(DottedSquares())
        with pytest.warns(UserWarning, match="right answers rest on") as told:
            trainer.fit(ReadsDots(), data, data)
    (found,) = json.loads((tmp_path / "shortcuts.json").read_text())["shortcuts"]
    topic: dict[str, Any] = found["topic"]
    figures = [topic[name] for name in ("phrase", "low", "of_low", "other", "of_other")]
    assert figures == [named, 12, 12, 0, 12]
    assert topic["q"] < 0.001
    assert found["text"].startswith(
        f"red: 12 of 12 right answers rest on {named}, top right (95 %: 76 to 100 %; other classes "
        "0 of 12). The judge saw it in 12 of 12 of them, and in 0 of 12 others."
    )
    assert f"vlmxai: {found['text']}" in {str(of.message) for of in told}
    page = unpack((tmp_path / "report.html").read_text())
    assert page["shortcuts"]["found"][0]["text"] == found["text"]
    samples = read_run(tmp_path).rounds[-1].samples
    assert {(s.label_name, s.attends_to[0][1]) for s in samples} == {("red", False), ("blue", True)}

"""What the log of calls holds: the model's words, the prompt, and a name for each line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from helpers_judge import judge_all, make_judge, make_request
from lightning_vlmxai.judges.call_log import LONGEST
from lightning_vlmxai.judges.samples import combine_samples
from lightning_vlmxai.records import Verdict
from openai_server import OpenAIServer, completion, verdict


def read_lines(folder: Path) -> dict[str, dict[str, Any]]:
    """Return the log's lines by their ids."""
    lines = (folder / "judge_calls.jsonl").read_text().splitlines()
    return {line["id"]: line for line in map(json.loads, lines)}


def test_a_verdict_names_the_lines_that_tell_how_it_came_about(tmp_path: Path) -> None:
    """One for each sample, with the words as they came and the prompt as it was sent."""
    words = ["It is nice.", verdict(2).body, verdict(4).body]
    replies = [completion(words[0]), verdict(2), verdict(4)]
    queue = iter(replies)
    with OpenAIServer(lambda _: next(queue)) as server:
        judge = make_judge(server.base_url, concurrency=1, samples=2)
        judge.bind(tmp_path)
        request = make_request(7, label="tabby", round_number=3, stage="validate")
        (given,) = judge_all(judge, [request])
        sent = [seen.body["messages"][-1]["content"] for seen in server.requests]
    lines = read_lines(tmp_path)
    first, second = (lines[name] for name in given.asked)
    assert set(lines) == set(given.asked)
    assert (first["stage"], first["round"], first["probe"], first["sample"]) == (
        "validate",
        3,
        7,
        0,
    )
    own = [json.loads(body)["choices"][0]["message"]["content"] for body in words[1:]]
    assert first["answers"] == [words[0], own[0]]
    assert first["problem"] == "it names no score"
    assert second["answers"] == [own[1]]
    kept = json.loads((tmp_path / "judge_prompts" / f"{first['prompt']}.json").read_text())
    assert kept["template"].replace("{label}", first["label"]) == sent[0][0]["text"]
    assert kept["reask"].replace("{problem}", first["problem"]) == sent[1]


def test_a_cached_answer_has_the_key_of_the_call_that_was_paid(tmp_path: Path) -> None:
    """So that its words are found again, and no other picture's."""
    with OpenAIServer() as server:
        given = []
        for number in (0, 1):
            judge = make_judge(server.base_url)
            judge.bind(tmp_path)
            requests = [make_request(i, lit=i / 8, round_number=number) for i in range(1, 5)]
            given.append(judge_all(judge, requests))
        assert len(server.requests) == 4
    lines = read_lines(tmp_path)
    for paid, cached in zip(*given, strict=True):
        (one,), (two,) = paid.asked, cached.asked
        assert one != two
        assert (lines[one]["cached"], lines[two]["cached"]) == (False, True)
        assert lines[one]["key"] == lines[two]["key"]
        assert (lines[one]["round"], lines[two]["round"]) == (0, 1)
        assert lines[two]["answers"] == []
    assert len({lines[v.asked[0]]["key"] for v in given[0]}) == 4


def test_long_words_are_cut_and_counted(tmp_path: Path) -> None:
    """A model that doesn't stop fills no disk."""
    with OpenAIServer(lambda _: verdict(4, "x" * 50_000)) as server:
        judge = make_judge(server.base_url)
        judge.bind(tmp_path)
        (given,) = judge_all(judge, [make_request()])
    (line,) = read_lines(tmp_path).values()
    (answer,) = line["answers"]
    assert len(answer) < LONGEST + 40
    assert answer.endswith("characters more)")
    assert given.evaluation == "x" * 50_000


def test_without_a_folder_nothing_is_named() -> None:
    """No line, no name of one."""
    with OpenAIServer() as server:
        (given,) = judge_all(make_judge(server.base_url), [make_request()])
    assert given.asked == ()


def test_lines_of_several_samples_stay_together() -> None:
    """Scored or not."""
    parts = [Verdict(score=1.0, asked=("a",)), Verdict(score=3.0, asked=("b",))]
    assert combine_samples(parts, latency_s=0.0).asked == ("a", "b")

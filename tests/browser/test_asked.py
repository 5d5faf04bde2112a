"""The judge's side of a sample, one click away, and the reference mask's outline."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from playwright.sync_api import Page, expect

from helpers_judge import judge_all
from lightning_vlmxai.explain import make_request
from lightning_vlmxai.judges import ReferenceMaskJudge, VLMJudge
from lightning_vlmxai.report import write_report
from openai_server import OpenAIServer, completion, verdict
from run_folders import make_round, write_run

Open = Callable[..., Page]
HOSTILE = "</script><script>window.pwned=1</script> nothing"


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the report of a judged round; the first answer could not be used."""
    folder = tmp_path_factory.mktemp("run")
    replies = iter([completion(HOSTILE), *(verdict(4, f"Words {i}.") for i in range(20))])
    made = make_round(0, probes=3)
    mask = torch.zeros(24, 24, dtype=torch.bool)
    mask[8:16, 8:16] = True
    with OpenAIServer(lambda _: next(replies)) as server:
        judge = VLMJudge("loopback", server.base_url, api_key_env=None, concurrency=1)
        judge.bind(folder)
        requests = [make_request(s.explanation) for s in made.samples]
        with ThreadPoolExecutor(1) as pool:  # the browser has a loop of its own here
            verdicts = pool.submit(judge_all, judge, requests).result()
    verdicts[2] = replace(verdicts[2], asked=("0" * 16,))
    samples = [
        replace(s, verdict=v, explanation=replace(s.explanation, reference_mask=mask))
        for s, v in zip(made.samples, verdicts, strict=True)
    ]
    write_run(folder, [replace(made, samples=tuple(samples))])
    return write_report(folder)


def test_prompt_and_answer_are_one_click_away(open_page: Open, report: Path) -> None:
    """As they were sent and came, whatever is in them."""
    page = open_page(report, "#/probe/0")
    asked = page.locator("details.asked")
    expect(asked.locator(".once")).to_be_hidden()
    page.get_by_text("What the judge was asked and said").click()
    words = asked.locator(".once > pre")
    expect(words).to_have_count(2)
    expect(words.nth(0)).to_have_text(HOSTILE)
    expect(words.nth(1)).to_contain_text('"evaluation": "Words 0."')
    expect(asked.locator(".facts")).to_contain_text("loopback")
    expect(asked.locator(".facts")).to_contain_text("Tries2")
    asked.get_by_text("as it was sent").click()
    prompt = asked.locator("details pre")
    expect(prompt.nth(0)).to_contain_text("<<other>>")
    expect(prompt.nth(1)).to_contain_text("That answer can't be used: it names no score.")
    assert page.evaluate("window.pwned") is None


def test_it_stays_open_from_probe_to_probe(open_page: Open, report: Path) -> None:
    """And says so where a folder does not hold it."""
    page = open_page(report, "#/probe/0")
    page.get_by_text("What the judge was asked and said").click()
    page.locator("button[name=next-probe]").click()
    expect(page.locator("details.asked .once > pre")).to_contain_text("Words 1.")
    page.locator("button[name=next-probe]").click()
    expect(page.locator("details.asked")).to_contain_text("This folder's log does not hold it.")


def test_a_judge_without_a_prompt_says_so(open_page: Open, tmp_path: Path) -> None:
    """In one line."""
    write_run(tmp_path, judge=ReferenceMaskJudge.name)
    page = open_page(write_report(tmp_path), "#/probe/0")
    page.get_by_text("What the judge was asked and said").click()
    expect(page.locator("details.asked .hint")).to_have_text(
        "The reference judge compares masks; it has no prompt."
    )
    expect(page.locator(".outline")).to_have_count(0)
    expect(page.locator("input[name=outline]")).to_have_count(0)


def test_the_outline_lies_on_the_object(open_page: Open, report: Path) -> None:
    """In the middle third of each picture; it is taken away by a key, and stays away."""
    page = open_page(report, "#/probe/0")
    expect(page.locator(".views .outline")).to_have_count(3)
    path = page.locator(".views .outline").first.locator("path").last
    box, frame = path.bounding_box(), page.locator(".views .shot").first.bounding_box()
    assert box is not None
    assert frame is not None
    assert (box["x"] - frame["x"]) / frame["width"] == pytest.approx(1 / 3, abs=0.03)
    assert box["height"] / frame["height"] == pytest.approx(1 / 3, abs=0.03)
    page.locator("input[name=outline]").focus()
    page.keyboard.press("Space")
    expect(page.locator(".views .outline").first).to_be_hidden()
    page.locator("button[name=next-probe]").click()
    expect(page.locator(".views .outline").first).to_be_hidden()

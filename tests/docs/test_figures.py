"""Prices, reasons, messages and names that the guides quote are the package's own."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from fences import ROOT, read_blocks

import lightning_vlmxai
from lightning_vlmxai import (
    Budget,
    ConfigurationError,
    UnscoredReason,
    VLMExplainCallback,
    VLMJudge,
)
from lightning_vlmxai.callbacks.names import check_names
from lightning_vlmxai.judges.failures import SameScores
from lightning_vlmxai.judges.prices import PRICES
from lightning_vlmxai.probes import understand, unpack_item
from lightning_vlmxai.records import Usage, Verdict
from lightning_vlmxai.report import find_run_dir
from lightning_vlmxai.rounds import wilson_interval


def read(page: str) -> str:
    """Return a guide's text."""
    return (ROOT / "docs" / page).read_text("utf-8")


def price_table() -> list[str]:
    """Return the rows of what 64 probes and 20 rounds cost, the cheapest first."""
    found = []
    for model, price in PRICES.items():
        estimate = VLMJudge(model).estimate(pictures=64, rounds=20)
        assert estimate.calls == 1280
        each = f"${price.prompt_usd:.2f} / ${price.answer_usd:.2f}"
        found.append((estimate.cost_usd, f"| {model} | {each} | ${estimate.cost_usd:.2f} |"))
    return [row for _, row in sorted(found)]


def test_the_costs_are_those_of_the_price_table() -> None:
    """The page has the rows that the function makes, and the README their ends."""
    rows = [line for line in read("costs.md").splitlines() if re.match(r"\| g\S+ \| \$", line)]
    assert rows == price_table(), "\n".join(price_table())
    cheapest, dearest = (rows[i].split("$")[-1].rstrip(" |") for i in (0, -1))
    assert f"[${cheapest} to ${dearest}](docs/costs.md)" in (ROOT / "README.md").read_text("utf-8")


def test_the_intervals_that_are_told_are_wilsons() -> None:
    """What a number of probes is worth."""
    text = " ".join(read("costs.md").split())
    ends = [wilson_interval(n / 4, n) for n in (32, 64, 200)]
    (a, b), (c, d), (e, f) = ((f"{low:.2f}", f"{high:.2f}") for low, high in ends)
    assert f"{a} to {b} with 32 probes, {c} to {d} with 64, {e} to {f} with 200" in text
    gating = " ".join(read("gating.md").split())
    assert "With 20 judged probes of a class the lower end is above 0.4 from 13" in gating
    assert wilson_interval(12, 20).lower < 0.4 < wilson_interval(13, 20).lower


def test_every_reason_is_explained() -> None:
    """No more and no fewer than there are."""
    table = read("troubleshooting.md").partition("| reason |")[2]
    told = re.findall(r"^\| (\w+) \|", table, re.MULTILINE)
    assert sorted(told) == sorted(reason.value for reason in UnscoredReason)


def _text(node: ast.expr) -> str:
    """Return what a string expression says, a null character where it differs."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(_text(part) for part in node.values)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return _text(node.left) + _text(node.right)
    return "\0"


def _said() -> Iterator[str]:
    """Yield every message that the sources can make."""
    for path in (ROOT / "lightning_vlmxai").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Constant | ast.JoinedStr | ast.BinOp):
                yield _text(node)
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                if node.func.id == "expected" and len(node.args) == 4:
                    argument, rule, got, remedy = map(_text, node.args)
                    yield f"Expected `{argument}` to be {rule}, got {got}. {remedy}."
                elif node.func.id == "require" and len(node.args) == 5:
                    argument, rule, _, got, remedy = map(_text, node.args)
                    yield f"Expected `{argument}` to be {rule}, got {got}. {remedy}."


MESSAGES = [
    block.text.strip()
    for block in read_blocks(read("troubleshooting.md"))
    if block.language == "text"
]


def _pattern(message: str) -> re.Pattern[str]:
    parts = [part for part in re.split(r"\.\.\.", message) if part.strip(" .")]
    return re.compile(".*".join(re.escape(part.strip(" ")) for part in parts), re.DOTALL)


@pytest.fixture(scope="module")
def said() -> list[str]:
    """Every message of the sources."""
    return list(_said())


@pytest.mark.parametrize("message", MESSAGES)
def test_a_message_that_is_quoted_is_the_packages_own(message: str, said: list[str]) -> None:
    """All that stands between its dots, in this order, in one message."""
    assert any(_pattern(message).search(one) for one in said), message


def test_a_message_that_nobody_raises_is_noticed(said: list[str]) -> None:
    """A word that differs is enough."""
    changed = MESSAGES[0].replace("environment", "surrounding")
    assert not any(_pattern(changed).search(one) for one in said)


def _raised(key: str, tmp_path: Path) -> None:
    match key:
        case "api_key_env":
            VLMJudge("m").check()
        case "budget":
            VLMJudge("m", api_key_env=None, budget=Budget(max_usd=1)).check()
        case "class_names":
            check_names(None, VLMJudge("m"), watched=(), line="class_names=['a', 'b']")
        case "data set sample":
            unpack_item("a")
        case "reference_mask":
            understand(torch.rand(16).tolist())
        case "run":
            find_run_dir(tmp_path / "nowhere")


@pytest.mark.parametrize(
    "key", ["api_key_env", "budget", "class_names", "data set sample", "reference_mask", "run"]
)
def test_a_message_is_raised_as_quoted(
    key: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By doing what the guide says it comes of."""
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    (quoted,) = (m for m in MESSAGES if m.startswith(f"Expected `{key}`"))
    with pytest.raises(lightning_vlmxai.VLMExplainError) as raised:
        _raised(key, tmp_path)
    assert _pattern(quoted).search(str(raised.value)), str(raised.value)


def test_a_judge_that_gives_one_score_is_told_as_quoted() -> None:
    """After two rounds."""
    same = SameScores()
    verdicts = [Verdict.scored(3, usage=Usage(calls=1))] * 16
    same.look(verdicts)
    (quoted,) = (m for m in MESSAGES if m.startswith("the judge gave"))
    assert _pattern(quoted).search(same.look(verdicts))


def test_the_arguments_that_guides_name_exist() -> None:
    """Those of the callback in the table of what can be told it."""
    table = read("what-can-be-explained.md").partition("| argument |")[2].partition("\n\n")[0]
    rows = re.findall(r"^\| (.+?) \|", table, re.MULTILINE)
    names = {n for row in rows for n in re.findall(r"`(\w+)`", row)} - {"from_probabilities"}
    assert len(names) >= 8
    with pytest.raises(TypeError):
        VLMExplainCallback(nonsense=1)  # type: ignore[call-arg]
    assert names <= set(VLMExplainCallback.__init__.__annotations__)


def test_every_public_name_is_in_the_reference() -> None:
    """Each of `__all__`, once."""
    pages = "\n".join(page.read_text("utf-8") for page in (ROOT / "docs" / "api").glob("*.md"))
    listed = re.findall(r"^::: lightning_vlmxai\.(\w+)$", pages, re.MULTILINE)
    errors = [n for n in lightning_vlmxai.__all__ if n.endswith("Error")]
    assert issubclass(ConfigurationError, lightning_vlmxai.VLMExplainError)
    assert "::: lightning_vlmxai.errors" in pages  # these are listed as a module
    assert sorted([*(n for n in listed if n[0].isupper()), *errors]) == sorted(
        lightning_vlmxai.__all__
    )

"""`vlmxai judge`: a judge is tested on pictures with known answers before a training."""

from __future__ import annotations

import importlib
import json
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import product
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser, Namespace

from .errors import ConfigurationError, expected
from .judges import STYLES, VIEWS, Judge, ReferenceMaskJudge, VLMJudge
from .records import Control
from .trust import (
    KINDS,
    SCENE_NAMES,
    Drawn,
    Examination,
    Subject,
    compare,
    describe_answers,
    describe_figures,
    draw_controls,
    draw_scenes,
    examine,
    find_faults,
    read_subjects,
)


def make_judge_parser() -> ArgumentParser:
    """Return the parser of the command's own options."""
    parser = ArgumentParser(
        description="Test a judge on pictures whose answer is known. Exit status 1 if one of those "
        "asked is not good enough, 2 if it can't be asked so."
    )
    add = parser.add_argument
    add("--model", nargs="+", type=str, help="one or several; the reference-mask judge if none")
    add("--styles", nargs="+", type=str, default=["original"], help=", ".join(STYLES))
    add("--views", nargs="+", type=str, default=["masked"], help=", ".join(VIEWS))
    add("--data", type=str, help="module:function, which returns a data set; drawn scenes if none")
    add("--controls", type=int, default=40, help="pictures with known answers")
    add("--repeats", type=int, default=2, help="how often each is asked about")
    add("--min-auc", type=float, default=0.75, help="what the AUC's lower end has to reach")
    add("--threshold", type=float, default=2.5, help="High from this score")
    add("--alpha", type=float, default=15.0, help="of the mask, as in the run")
    add("--beta", type=float, default=0.6, help="of the mask, as in the run")
    add("--fill", type=str, default="black", help="black, blur, grey or mean, as in the run")
    add("--pictures", type=int, default=64, help="in a round of the run whose cost is told")
    add("--rounds", type=int, default=20, help="of that run")
    add("--seed", type=int, default=0, help="of the choice of pictures and controls")
    add_server_options(parser)
    return parser


def add_server_options(parser: ArgumentParser) -> None:
    """Add what is asked of a VLM's server to a command's options."""
    add = parser.add_argument
    add("--base-url", type=str, help="of the server; OPENAI_BASE_URL or OpenAI's own if none")
    add(
        "--api-key-env",
        type=str,
        default="OPENAI_API_KEY",
        help='environment variable with the key; "" for a server without',
    )
    add("--request", type=dict, default={}, help='more for each request: {"temperature": 0}')
    add("--prices", type=dict, default={}, help="dollars per million tokens: {model: [0.1, 0.4]}")
    add("--concurrency", type=int, default=8, help="requests at a time")
    add("--timeout-s", type=float, default=60.0, help="longest silence of the server")
    add("--wait-s", type=float, default=0.0, help="for a server that is loading")


def make_vlm(given: Namespace, model: str, **more: Any) -> VLMJudge:
    """Return the judge of a model, with the options of `add_server_options`.

    Args:
        given: The options.
        model: As the server calls it.
        more: Of its arguments.
    """
    return VLMJudge(
        model,
        base_url=given.base_url,
        api_key_env=given.api_key_env or None,
        request=given.request,
        prices=given.prices,
        timeout_s=given.timeout_s,
        wait_s=given.wait_s,
        concurrency=given.concurrency,
        **more,
    )


def run_judge(given: Namespace) -> int:
    """Test each judge that is asked for, print what was found, and return the exit status.

    Args:
        given: Options of `make_judge_parser`.

    Raises:
        ConfigurationError: If judges or data can't be asked so.
    """
    try:
        return _run(given)
    except KeyboardInterrupt:
        _say("\nEnded before all was asked.")
        return 130


def _run(given: Namespace) -> int:
    _check(given)
    subjects, names = _read_data(given)
    judges = list(_make_judges(given))
    rows, is_good = [], True
    for judge in judges:
        drawn = draw_controls(
            subjects,
            given.controls,
            class_names=names,
            alpha=given.alpha,
            beta=given.beta,
            fill=given.fill,
            seed=given.seed,
            reads_labels=getattr(judge, "reads_labels", True),
        )
        if not drawn.controls:
            raise ConfigurationError(
                expected(
                    "data",
                    "pictures that controls can be made of",
                    " ".join(drawn.notes) or "none",
                    "Return (picture, label, reference_mask), or name a --model that reads labels",
                )
            )
        if judge is judges[0]:
            _tell_controls(drawn, given)
        found, faults = _test(judge, drawn.controls, given)
        is_good &= not faults
        rows.append((judge.name, found, faults))
    if len(rows) > 1:
        for line in ("", *compare(rows)):
            _say(line)
    return 0 if is_good else 1


def _check(given: Namespace) -> None:
    for name, is_right, rule, remedy in (
        ("controls", given.controls >= 2, "at least 2", "Pass 40"),
        ("repeats", given.repeats >= 1, "at least 1", "Pass 2"),
        ("min_auc", 0 <= given.min_auc <= 1, "in [0, 1]", "Pass 0.75"),
        ("threshold", 0 <= given.threshold <= 5, "in [0, 5]", "Pass 2.5"),
        ("pictures", given.pictures >= 1, "at least 1", "Pass 64"),
        ("rounds", given.rounds >= 1, "at least 1", "Pass 20"),
    ):
        if not is_right:
            raise ConfigurationError(expected(name, rule, getattr(given, name), remedy))


def _read_data(given: Namespace) -> tuple[list[Subject], tuple[str, ...]]:
    """Return what controls are made of, and the names of the classes."""
    if given.data is None:
        _say(
            "No --data: scenes are drawn. They are easier than photographs: who fails here is of "
            "no use, who does well may still fail on yours."
        )
        return draw_scenes(max(10, given.controls), seed=given.seed), SCENE_NAMES
    subjects, names = read_subjects(_call(given.data), 2 * given.controls, seed=given.seed)
    masked = sum(subject.has_mask for subject in subjects)
    _say(f"{len(subjects)} pictures of {given.data}, {masked} of them with a reference mask.")
    if not masked:
        _say(
            "Without masks a control can only show the whole picture, under its own or another "
            "name: whether the judge sees what is kept is not tested."
        )
    return subjects, names


def _call(path: str) -> Any:
    """Return what a function that was named returns.

    Raises:
        ConfigurationError: If there is none, or it fails.
    """
    module_name, _, name = path.partition(":")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        function = getattr(importlib.import_module(module_name), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigurationError(
            expected(
                "data",
                "module:function that can be imported from here",
                f"{path!r} ({error})",
                "Pass --data my_data:validation_set",
            )
        ) from None
    try:
        return function()
    except Exception as error:
        raise ConfigurationError(
            expected(
                "data",
                "a function without arguments that returns a data set",
                f"{path!r}, which raised {type(error).__name__}: {error}",
                "Call it yourself to see where",
            )
        ) from error


def _make_judges(given: Namespace) -> Iterator[Judge]:
    if not given.model:
        yield ReferenceMaskJudge()
        return
    for model, style, view in product(given.model, given.styles, given.views):
        # A stored answer says nothing of today's judge.
        yield make_vlm(given, model, style=style, view=view, cache=False)


def _test(
    judge: Judge, controls: Sequence[Control], given: Namespace
) -> tuple[Examination, list[str]]:
    """Return what a judge answered, and what is wrong with it, having told both."""
    _say(f"\n{judge.name}")
    with tempfile.TemporaryDirectory() as folder, _progress(given) as on_verdict:
        if isinstance(judge, VLMJudge):
            judge.bind(Path(folder))
        start = time.monotonic()
        found = examine(
            judge,
            controls,
            repeats=given.repeats,
            threshold=given.threshold,
            on_verdict=on_verdict,
        )
        seconds = time.monotonic() - start
        formats = _read_formats(Path(folder))
    faults = find_faults(found, min_auc=given.min_auc)
    if not found.setup_fault:
        for name, told in (
            *describe_answers(found, formats, seconds),
            *_describe_cost(judge, found, given),
            *describe_figures(found),
        ):
            _line(name, told)
    _line("result", "good enough" if not faults else "NOT good enough")
    for fault in faults:
        _line("", fault)
    if not faults:
        _line("", _what_it_is_good_for(found))
    return found, faults


@contextmanager
def _progress(given: Namespace) -> Iterator[Callable[[int], None] | None]:
    """Count answers in the terminal's last line, where there is a terminal."""
    if not sys.stderr.isatty():
        yield None
        return
    total, done = given.controls * given.repeats, 0

    def count(more: int) -> None:
        nonlocal done
        done += more
        sys.stderr.write(f"\r  asked {done} of {total}")
        sys.stderr.flush()

    yield count
    sys.stderr.write("\r" + " " * 40 + "\r")
    sys.stderr.flush()


def _read_formats(folder: Path) -> list[str]:
    """Return the answer formats with which there was a score, the most frequent first."""
    log = folder / "judge_calls.jsonl"
    lines = log.read_text().splitlines() if log.exists() else []
    records = [json.loads(line) for line in lines]
    formats = Counter(r["answer_format"] for r in records if r["score"] is not None)
    return [name for name, _ in formats.most_common() if name]


def _tell_controls(drawn: Drawn, given: Namespace) -> None:
    kinds = Counter(control.kind for control in drawn.controls)
    told = ", ".join(f"{kinds[kind]} {kind}" for kind in KINDS if kinds[kind])
    _say(f"{len(drawn.controls)} controls ({told}), each asked {_times(given.repeats)}.")
    for note in drawn.notes:
        _say(note)


def _describe_cost(judge: Judge, found: Examination, given: Namespace) -> Iterator[tuple[str, str]]:
    """Yield tokens and cost of a question, and of a run of the size that was named."""
    if not isinstance(judge, VLMJudge):
        yield "cost", "none: no server is asked"
        return
    verdicts = [verdict for verdict in found.verdicts if verdict.usage.calls]
    questions = given.pictures * given.rounds
    run = f"a run of {given.pictures} pictures and {given.rounds} rounds, {questions:,} questions"
    tokens = sum(verdict.usage.tokens for verdict in verdicts)
    if not tokens:
        guess = judge.estimate(pictures=given.pictures, rounds=given.rounds)
        yield "tokens", f"the server counts none; {run}: {guess}"
        return
    each = tokens / len(verdicts)
    yield "tokens", f"{each:,.0f} a question; {run}: {each * questions:,.0f}"
    costs = [verdict.usage.cost_usd for verdict in verdicts]
    known = [cost for cost in costs if cost is not None]
    if len(known) < len(costs):
        price = json.dumps({judge.model: [0.1, 0.4]})
        yield "cost", f"not known for this model; pass --prices '{price}'"
        return
    of_run = sum(known) / len(verdicts) * questions
    yield "cost", f"${sum(known):.4f} for this test; that run: ${of_run:.2f}"


def _what_it_is_good_for(found: Examination) -> str:
    area = found.figures.auc
    told = "Its scores may be looked at; rates need people's ratings all the same"
    if area is not None and area.interval.lower >= 0.9:
        told = "Its scores tell rounds and classes apart; rates still need people's ratings"
    return f"{told} (docs/trusting-a-judge.md)."


def _times(repeats: int) -> str:
    return {1: "once", 2: "twice"}.get(repeats, f"{repeats} times")


def _line(name: str, told: str) -> None:
    _say(f"  {name:<15} {told}".rstrip())


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()

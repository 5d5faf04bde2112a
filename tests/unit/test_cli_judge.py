"""`vlmxai judge`: through HTTP on loopback, against judges that fail each in its own way."""

from __future__ import annotations

import hashlib
import random
import re
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lightning_vlmxai.cli import main
from lightning_vlmxai.judges.pictures import encode_views
from lightning_vlmxai.records import Control
from lightning_vlmxai.trust import SCENE_NAMES, draw_controls, draw_scenes
from openai_server import OpenAIServer, Reply, Seen, completion, error, judge_by_light, verdict

COUNT = 24


def digest(data: bytes) -> str:
    """Return a name of a picture's bytes."""
    return hashlib.sha256(data).hexdigest()


@pytest.fixture(scope="module")
def known() -> dict[tuple[str, str], Control]:
    """Return the controls that the command will ask about, by picture and name."""
    drawn = draw_controls(draw_scenes(COUNT), COUNT, class_names=SCENE_NAMES)
    return {
        (
            digest(encode_views(c.request, "masked", picture_format="png", min_side=0)[0]),
            c.request.label_name,
        ): c
        for c in drawn.controls
    }


def run(server: OpenAIServer, *options: str, model: str = "gpt-4o-mini") -> int:
    """Return the exit status of the command against a server."""
    place = ["--base-url", server.base_url, "--api-key-env", "", "--controls", str(COUNT)]
    return main(["judge", "--model", *model.split(), *place, *options])


Known = dict[tuple[str, str], Control]
Answer = Callable[[Seen, Control], Reply]


def asked(known: Known, seen: Seen) -> Control:
    """Return the control that a request is about."""
    return known[digest(seen.picture_bytes[0]), seen.label]


def good(seen: Seen, control: Control) -> Reply:
    """Know it all."""
    return verdict(4.5 if control.is_good else 0.5)


def by_label(seen: Seen, control: Control) -> Reply:
    """Read the name alone."""
    return verdict(SCENE_NAMES.index(seen.label))


def always_four(seen: Seen, control: Control) -> Reply:
    """Like everything."""
    return verdict(4)


def by_light(seen: Seen, control: Control) -> Reply:
    """Count what is lit."""
    return judge_by_light(seen)


def inverted(seen: Seen, control: Control) -> Reply:
    """Take 0 for the best."""
    return verdict(0.5 if control.is_good else 4.5)


def refuses_half(seen: Seen, control: Control) -> Reply:
    """Refuse two kinds, and a third of the pictures."""
    if control.kind in ("elsewhere", "other label") or control.request.probe_index % 3 == 0:
        return completion(None, message={"refusal": "I can't help with that."})
    return good(seen, control)


def deaf_to_names(seen: Seen, control: Control) -> Reply:
    """See whether an object is kept, whatever its name."""
    return verdict(4.5 if control.kind in ("object", "other label") else 0.5)


def at_random(seen: Seen, control: Control) -> Reply:
    """Say anything."""
    return verdict(random.Random(seen.number).choice([0, 1, 2, 3, 4, 5]))  # noqa: S311


def lines_of(told: str) -> dict[str, str]:
    """Return the lines of one judge by their names."""
    found = re.findall(r"^  (\S.{0,14}?|  \S.{0,12}?) {2,}(.*)$", told, re.MULTILINE)
    return {name.strip(): rest for name, rest in found}


def test_a_good_judge_passes_and_every_line_is_told(
    known: Known, capsys: pytest.CaptureFixture[str]
) -> None:
    """Answers, format, latency, tokens, cost of the run that was named, figures by kind."""
    with OpenAIServer(lambda seen: good(seen, asked(known, seen))) as server:
        assert run(server, "--pictures", "100", "--rounds", "10") == 0
        assert len(server.requests) == 2 * COUNT  # no stored answer
    told = capsys.readouterr().out
    lines = lines_of(told)
    assert (
        "24 controls (12 object, 4 elsewhere, 4 shuffled, 4 other label), each asked twice" in told
    )
    assert "easier than photographs" in told
    assert lines["answered"] == "48 of 48, as json_schema"
    assert re.match(r"median \S+ s, 95 % \S+ s; all in \S+ s", lines["latency"])
    assert lines["tokens"] == (
        "1,200 a question; a run of 100 pictures and 10 rounds, 1,000 questions: 1,200,000"
    )
    # 1000 prompt tokens at .15 and 200 of the answer at .6 dollars per million.
    assert lines["cost"] == "$0.0130 for this test; that run: $0.27"
    assert lines["AUC"] == "1.00 [0.83, 1.00], of 12 good against 12 bad controls"
    assert lines["sensitivity"].startswith("1.00 [0.76, 1.00], 12 of 12 High")
    assert lines["specificity"].startswith("1.00 [0.76, 1.00], 12 of 12 Low")
    assert lines["elsewhere"].startswith("1.00 [0.51, 1.00], 4 of 4 Low, AUC 1.00")
    assert lines["spread"].startswith("0.00 ")
    assert lines["result"] == "good enough"


@pytest.mark.parametrize(
    ("answer", "words", "of_kind"),
    [
        (by_label, "Pictures of one name got one score", {}),
        (always_four, "every picture the score 4. It does not look", {"elsewhere": "0 of 4 Low"}),
        (by_light, "Its score follows how much is visible", {}),
        (inverted, "wrong way round", {"object": "0 of 12 High", "elsewhere": "0 of 4 Low"}),
        (refuses_half, "questions (of", {"elsewhere": "no answer; 4 without an answer"}),
        (deaf_to_names, "does not heed the name", {"other label": "0 of 4 Low"}),
        (at_random, "as if it did not see the picture", {}),
    ],
)
def test_each_bad_judge_is_found_out(
    known: Known,
    capsys: pytest.CaptureFixture[str],
    answer: Answer,
    words: str,
    of_kind: dict[str, str],
) -> None:
    """By kind, in words, and by the exit status."""
    with OpenAIServer(lambda seen: answer(seen, asked(known, seen))) as server:
        assert run(server) == 1
    told = capsys.readouterr().out
    lines = lines_of(told)
    assert lines["result"] == "NOT good enough"
    assert words in told
    assert ("heed the name" in told) == (answer is deaf_to_names)
    for kind, said in of_kind.items():
        assert said in lines[kind]


def test_the_reference_judge_passes_without_labels(capsys: pytest.CaptureFixture[str]) -> None:
    """It is asked for what it can know."""
    assert main(["judge"]) == 0
    told = capsys.readouterr().out
    assert "40 controls (20 object, 10 elsewhere, 10 shuffled), each asked twice." in told
    assert lines_of(told)["cost"] == "none: no server is asked"


def test_refusals_are_counted_apart_and_named(
    known: Known, capsys: pytest.CaptureFixture[str]
) -> None:
    """No refusal becomes a score; what was answered has its figures."""
    with OpenAIServer(lambda seen: refuses_half(seen, asked(known, seen))) as server:
        run(server)
    lines = lines_of(capsys.readouterr().out)
    number = int(lines["answered"].split()[0])
    assert number < 0.8 * 48
    assert f"{48 - number} of 48 samples unscored (refusal)" in lines["unscored"]
    assert lines["AUC"].startswith("1.00")


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        (error(401, "invalid_api_key", "Incorrect API key"), "Check the key"),
        (error(404, "model_not_found", "The model `m` does not exist"), "Check `model`"),
        (
            error(400, message="This model does not support image input"),
            "Name a `model` that takes pictures",
        ),
    ],
)
def test_a_broken_set_up_is_named_with_the_first_question(
    reply: Reply, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """And no further one is asked."""
    with OpenAIServer(lambda _: reply) as server:
        assert run(server) == 1
        assert len(server.requests) <= 3  # formats are tried once
    told = capsys.readouterr().out
    assert words in told
    assert "AUC" not in told


def test_a_forgotten_v1_is_named(known: Known, capsys: pytest.CaptureFixture[str]) -> None:
    """With the address that answers."""
    with OpenAIServer(lambda seen: good(seen, asked(known, seen))) as server:
        server.only_path = "/v1/chat/completions"
        server.models = {"/v1/models": ["gpt-4o-mini"]}
        address = server.base_url
        options = [
            "--base-url",
            address.removesuffix("/v1"),
            "--api-key-env",
            "",
            "--controls",
            "4",
        ]
        assert main(["judge", "--model", "gpt-4o-mini", *options]) == 1
    assert f"{address}" in capsys.readouterr().out


def test_nobody_at_the_address_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    """With what to check."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = ["--base-url", f"http://127.0.0.1:{port}/v1", "--api-key-env", "", "--controls", "4"]
    assert main(["judge", "--model", "m", *options]) == 1
    assert "Check `base_url` and that the server runs" in capsys.readouterr().out


def test_a_missing_key_is_a_fault_of_the_set_up(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Told before anything is asked."""
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    assert main(["judge", "--model", "m"]) == 2
    assert "export OPENAI_API_KEY" in capsys.readouterr().err


def test_several_are_compared_on_the_same_controls(
    known: Known, capsys: pytest.CaptureFixture[str]
) -> None:
    """Models, styles and views in one table; one that fails is enough for the status."""

    def answer(seen: Seen) -> Reply:
        assert len(seen.pictures) == 1 + ("two pictures" in seen.text)
        key = digest(seen.picture_bytes[0]), seen.label
        is_bad = seen.body["model"] == "b" or key not in known
        return verdict(3) if is_bad else good(seen, known[key])

    with OpenAIServer(answer) as server:
        options = ["--styles", "original", "concise", "--views", "masked", "both", "--repeats", "1"]
        assert run(server, *options, model="a") == 0
        compared = capsys.readouterr().out
        assert run(server, "--repeats", "1", model="b a") == 1
    rows = [line for line in compared.splitlines() if re.match(r"a \(.*\d+/\d+", line)]
    assert [re.findall(r"original|concise|masked|both", row) for row in rows] == [
        ["original", "masked"],
        ["original", "both"],
        ["concise", "masked"],
        ["concise", "both"],
    ]
    rows = capsys.readouterr().out.splitlines()[-2:]
    assert rows[0].startswith("b ")
    assert rows[0].endswith("NOT good enough")
    assert rows[1].endswith("  good enough")


def test_an_unknown_price_is_no_price(known: Known, capsys: pytest.CaptureFixture[str]) -> None:
    """It says what to pass; a price that is passed is used."""
    with OpenAIServer(lambda seen: good(seen, asked(known, seen))) as server:
        assert run(server, "--repeats", "1", model="mine") == 0
        assert "not known" in lines_of(capsys.readouterr().out)["cost"]
        assert run(server, "--repeats", "1", "--prices", '{"mine": [1, 2]}', model="mine") == 0
    assert lines_of(capsys.readouterr().out)["cost"].startswith("$0.0336 for this test")


DATA = """
import torch
from tiny import Squares

class Plain(Squares):
    def __init__(self):
        super().__init__(40, 64)
        self.transform = lambda picture: picture

def good(): return Plain()
def normalised(): return Squares(40, 64)
def unnamed():
    data = Plain()
    return [(p, y, m) for p, y, m in data]
def named(): return [(p, ("red", "blue", "green")[y], m) for p, y, m in Plain()]
def maskless():
    return ({"image": (255 * p).byte(), "label": ("red", "blue")[y]} for p, y, m in Plain())
def odd(): return [(p, "red", m * 7 + 3) for p, y, m in Plain()]
def shifted(): return [(p, "red", m[1:]) for p, y, m in Plain()]
def fails(): raise RuntimeError("no disk")
def nothing(): return []
def number(): return 3
def loader():
    from torch.utils.data import DataLoader
    return DataLoader(Plain(), batch_size=8)
"""


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Put a module with functions for --data into the working directory."""
    (tmp_path / "my_data.py").write_text(DATA)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield
    sys.modules.pop("my_data", None)


@pytest.mark.usefixtures("data")
@pytest.mark.parametrize("name", ["good", "named"])
def test_controls_are_made_of_a_users_data(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """With the data set's own names, or names as labels."""
    assert main(["judge", "--data", f"my_data:{name}", "--controls", "20"]) == 0
    told = capsys.readouterr().out
    assert f"40 pictures of my_data:{name}, 40 of them with a reference mask." in told
    assert "drawn" not in told


@pytest.mark.usefixtures("data")
def test_without_masks_only_the_name_is_tested(capsys: pytest.CaptureFixture[str]) -> None:
    """It says so; a judge that knows no names can't be tested so."""
    with OpenAIServer(lambda _: verdict(4)) as server:
        assert run(server, "--data", "my_data:maskless") == 1
    told = capsys.readouterr().out
    assert "whether the judge sees what is kept is not tested" in told
    assert "24 controls (12 whole, 12 other label)" in told
    assert main(["judge", "--data", "my_data:maskless"]) == 2
    assert "name a --model that reads labels" in capsys.readouterr().err


@pytest.mark.usefixtures("data")
@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("my_data:normalised", "Leave Normalize out of the transforms"),
        ("my_data:unnamed", 'data.classes = ["cat", "dog"]'),
        ("my_data:odd", "Return `mask == 1`"),
        ("my_data:shifted", "the same geometric transforms"),
        ("my_data:fails", "raised RuntimeError: no disk"),
        ("my_data:nothing", "Return one that has some"),
        ("my_data:number", "one that returns int"),
        ("my_data:loader", "Return the data set, not its loader"),
        ("my_data:missing", "Pass --data my_data:validation_set"),
        ("no_module:x", "Pass --data my_data:validation_set"),
        ("my_data", "Pass --data my_data:validation_set"),
    ],
)
def test_data_that_can_not_be_used_is_named(
    path: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """In one sentence that says what to return."""
    assert main(["judge", "--data", path]) == 2
    told = capsys.readouterr().err
    assert told.startswith("vlmxai: Expected `data` to be ")
    assert words in told


def test_ctrl_c_ends_it_in_a_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With the status that a shell expects."""

    def interrupt(*args: object, **kwargs: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("lightning_vlmxai.cli_judge.examine", interrupt)
    assert main(["judge"]) == 130
    assert capsys.readouterr().out.endswith("Ended before all was asked.\n")


@pytest.mark.parametrize(
    "options",
    [["--controls", "1"], ["--repeats", "0"], ["--min-auc", "2"], ["--threshold", "6"]],
)
def test_impossible_numbers_are_refused(
    options: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """With one that is possible."""
    assert main(["judge", *options]) == 2
    assert "Pass " in capsys.readouterr().err

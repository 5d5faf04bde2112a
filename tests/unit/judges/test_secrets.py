"""A key in every notation in which it was ever echoed, made by the libraries that write them."""

from __future__ import annotations

import base64
import html
import json
import string
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers_judge import judge_all, make_judge, make_request
from lightning_vlmxai.judges.secrets import scrub
from openai_server import OpenAIServer, Reply

KEY = "sk-ab+cd/ef12=xY9&Zq"


def to_base64(text: str) -> str:
    """Return a text in base64."""
    return base64.b64encode(text.encode()).decode()


NOTATIONS = {
    "as it is": lambda key: key,
    "JSON": json.dumps,
    "JSON in JSON": lambda key: json.dumps(json.dumps(key.replace("/", "\\/"))),
    "JSON's \\u": lambda key: "".join(f"\\u{ord(c):04x}" for c in key),
    "some in \\u": lambda key: key.replace("+", "\\u002B").replace("/", "\\/"),
    "\\u escaped again": lambda key: json.dumps("".join(f"\\u{ord(c):04X}" for c in key)),
    "Python's \\x": lambda key: "".join(f"\\x{ord(c):02x}" for c in key),
    "address": lambda key: quote(key, safe=""),
    "address, escaped again": lambda key: quote(quote(key, safe=""), safe=""),
    "all of an address": lambda key: "".join(f"%{ord(c):02x}" for c in key),
    "HTML": html.escape,
    "HTML, escaped again": lambda key: html.escape(html.escape(key)),
    "HTML in numbers": lambda key: "".join(f"&#{ord(c)};" for c in key),
    "HTML in hexadecimal": lambda key: "".join(f"&#x{ord(c):X};" for c in key),
    "hexadecimal": lambda key: key.encode().hex(),
    "base64": to_base64,
    "base64 of an address": lambda key: base64.urlsafe_b64encode(key.encode()).decode(),
    "base64 of a login": lambda key: to_base64(f"me:{key}"),
    "base64 of a header": lambda key: to_base64(f"Bearer {key}\r\n"),
    "first half": lambda key: key[: len(key) // 2],
    "second half": lambda key: key[len(key) // 2 :],
    "base64 of the first half": lambda key: to_base64(key[: len(key) // 2]),
    "base64 of the second half": lambda key: to_base64(key[len(key) // 2 :]),
}  # fmt: skip


@pytest.mark.parametrize("notation", NOTATIONS)
def test_a_key_is_found_in_any_notation(notation: str) -> None:
    """Nothing of it is left, and nothing beside it is taken."""
    left = scrub(f"You sent {NOTATIONS[notation](KEY)} to us.", ["", KEY])
    assert left.strip('"\\') in {
        f"You sent {quotes}***{quotes} to us." for quotes in ("", '"', '"\\"', '\\"')
    } | {'You sent "***" to us.', 'You sent "\\"***\\"" to us.'}


@settings(deadline=None)
@given(
    key=st.text(string.ascii_letters + string.digits + "-_+/=.", min_size=12, max_size=60),
    data=st.data(),
)
def test_notations_may_change_within_a_key(key: str, data: st.DataObject) -> None:
    """Each character in a notation of its own."""
    one = st.sampled_from([n for n in NOTATIONS if n in {
        "as it is", "JSON's \\u", "Python's \\x", "all of an address", "HTML in numbers",
    }])  # fmt: skip
    written = "".join(NOTATIONS[data.draw(one)](character) for character in key)
    assert scrub(f"<{written}>", [key]) == "<***>"


@given(st.text())
def test_other_text_stays(text: str) -> None:
    """What does not hold the key is what it was."""
    assert scrub(text, [KEY, "none"]) == text.replace("none", "***")


def test_a_short_key_takes_nothing_else() -> None:
    """Neither its halves nor its code, which could be a part of any word."""
    assert scrub("an ollama, olla, lama, x2x6", ["ollama"]) == "an ***, olla, lama, x2x6"
    assert scrub("eA== and 78", ["x"]) == "eA== and 78"


@pytest.mark.parametrize("notation", ["some in \\u", "JSON's \\u"])
def test_an_echo_with_escapes_is_written_nowhere(
    notation: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """JSON's own reader takes the escapes back; by then the key is gone."""
    monkeypatch.setenv("SOME_KEY", KEY)
    body = '{"error": {"message": "You sent ' + NOTATIONS[notation](KEY) + '."}}'
    assert KEY in json.loads(body)["error"]["message"]
    with OpenAIServer(lambda _: Reply(status=400, body=body)) as server:
        judge = make_judge(server.base_url, api_key_env="SOME_KEY", max_retries=0)
        judge.bind(tmp_path)
        (judged,) = judge_all(judge, [make_request()])
    assert judged.detail == "HTTP 400: You sent ***."
    assert KEY not in (tmp_path / "judge_calls.jsonl").read_text()

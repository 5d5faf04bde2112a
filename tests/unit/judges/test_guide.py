"""What docs/judges.md says: its lines are run."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from helpers_judge import judge_all, make_request
from lightning_vlmxai.judges import VLMJudge
from openai_server import OpenAIServer, verdict

GUIDE = Path(__file__).parents[3] / "docs" / "judges.md"
TEXT = GUIDE.read_text("utf-8")


def lines() -> dict[str, dict[str, object]]:
    """Return the arguments of each VLMJudge in the guide, by the comment beside it."""
    (block,) = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    found = {}
    for node in ast.parse(block).body:
        call = node.value
        comment = block.splitlines()[node.lineno - 1].partition("# ")[2]
        arguments = {word.arg: ast.literal_eval(word.value) for word in call.keywords}
        found[comment] = {"model": ast.literal_eval(call.args[0]), **arguments}
    return found


@pytest.mark.parametrize("name", lines())
def test_each_line_of_the_guide_judges(name, monkeypatch):
    """At the same path of a server on loopback, with the key where it belongs."""
    arguments = lines()[name]
    for variable in re.findall(r"[A-Z_]+_API_KEY", TEXT):
        monkeypatch.setenv(variable, f"the {variable}".replace(" ", "-"))
    path = urlsplit(str(arguments.get("base_url", "https://host/v1"))).path
    with OpenAIServer(lambda _: verdict(3)) as server:
        base_url = server.base_url.removesuffix("/v1") + path
        (judged,) = judge_all(VLMJudge(**{**arguments, "base_url": base_url}), [make_request()])
        (seen,), (asked,) = server.requests, server.asked
    assert judged.score == 3
    assert seen.body["model"] == arguments["model"]
    query = "&".join(f"{k}={v}" for k, v in arguments.get("query", {}).items())
    assert asked == f"{path}/chat/completions" + (f"?{query}" if query else "")
    variable = arguments.get("api_key_env", "OPENAI_API_KEY")
    wanted = None if variable is None else f"Bearer the-{variable}"
    assert seen.headers.get("authorization") == wanted


def test_the_guide_has_a_line_for_each_server():
    """Those that users come with."""
    servers = ["OpenAI", "Gemini", "Azure", "OpenRouter", "Anthropic", "vLLM", "Ollama"]
    for server in [*servers, "LM Studio", "llama.cpp", "transformers serve", "LiteLLM"]:
        assert any(name.startswith(server) for name in lines()), server


def test_the_guide_counts_the_faults():
    """The number of rows that it names."""
    from fault_table import all_rows

    (count,) = re.findall(r"what becomes of (\d+) kinds of answers", TEXT)
    assert int(count) == len(all_rows())

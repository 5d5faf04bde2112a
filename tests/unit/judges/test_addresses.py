"""Where a server is, and what it is sent beside the request."""

from __future__ import annotations

import logging
import pickle

import pytest

from helpers_judge import judge_all, make_judge, make_request
from lightning_vlmxai.errors import ConfigurationError
from lightning_vlmxai.judges import VLMJudge
from lightning_vlmxai.records import UnscoredReason
from openai_server import OpenAIServer, error, verdict

NO_MODEL = error(404, "model_not_found", "The model does not exist")


def server_at(path: str, *models: str) -> OpenAIServer:
    """Return a server that has completions and a list of models below one path only."""
    server = OpenAIServer(lambda _: verdict(3))
    server.only_path = f"{path}/chat/completions"
    server.models = {f"{path}/models": list(models)}
    return server


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("/v1", ""),
        ("/v1", "/v1/chat/completions"),
        ("/v1", "/v1/v1"),
        ("/v1", "/v2"),
        ("/api/v1", ""),
        ("/api/v1", "/api"),
        ("", "/v1"),
        ("/v1beta/openai", "/v1beta"),
    ],
)
def test_the_right_base_url_is_found_and_told(right, wrong):
    """A 404 says what was called and which base URL lists models; nothing else is guessed."""
    with server_at(right, "loopback") as server:
        root = server.base_url.removesuffix("/v1")
        (judged,) = judge_all(make_judge(root + wrong), [make_request()])
    assert judged.reason is UnscoredReason.NOT_FOUND
    assert f"called {root}{wrong}/chat/completions" in judged.detail
    assert f'pass base_url="{root}{right}"' in judged.detail


def test_spaces_around_an_address_are_no_part_of_it():
    """They come with copying."""
    with OpenAIServer(lambda _: verdict(3)) as server:
        (judged,) = judge_all(make_judge(f" {server.base_url} "), [make_request()])
    assert judged.score == 3


def test_the_nearest_models_are_named():
    """A model that the server hasn't is told with those whose names are like it."""
    with server_at("/v1", "qwen2.5-vl-7b", "llava", "Loopback-2") as server:
        server.answer = lambda _: NO_MODEL
        verdicts = judge_all(
            make_judge(server.base_url), [make_request(i, lit=i / 4) for i in range(4)]
        )
    assert "it has no model 'loopback'; it has 'Loopback-2' and 2 more" in verdicts[0].detail
    assert server.asked.count("/v1/models") == 1


def test_a_server_that_answered_is_not_looked_around_at():
    """A 404 in mid-run is told as it is."""
    replies = iter([verdict(3), NO_MODEL])
    with OpenAIServer(lambda _: next(replies)) as server:
        verdicts = judge_all(
            make_judge(server.base_url, concurrency=1),
            [make_request(i, lit=i / 4) for i in range(2)],
        )
    assert verdicts[1].detail.endswith("The model does not exist")
    assert not [path for path in server.asked if path.endswith("/models")]


def test_a_web_page_is_looked_behind():
    """Another path than that of the page may list models."""
    with server_at("/v1", "loopback") as server:
        server.only_path = ""
        root = server.base_url.removesuffix("/v1")
        page = error(200).__class__(body="<html>Welcome</html>", content_type="text/html")
        server.answer = lambda _: page
        (judged,) = judge_all(make_judge(root), [make_request()])
    assert judged.reason is UnscoredReason.HTML_ANSWER
    assert f'pass base_url="{root}/v1"' in judged.detail


VALUE = "azure-0123456789abcdef"


def test_azure_gets_its_version_and_its_key(tmp_path, monkeypatch, caplog):
    """Query and headers are sent; the header's secret is in no record, log, copy or verdict."""
    monkeypatch.setenv("AZURE_KEY", VALUE)
    echo = f"You sent {VALUE}."
    replies = iter([verdict(3, echo, echo), error(500, echo, echo)])
    with OpenAIServer(lambda _: next(replies)) as server, caplog.at_level(logging.DEBUG, ""):
        base_url = server.base_url.removesuffix("/v1") + "/openai/deployments/mine"
        judge = make_judge(
            base_url,
            query={"api-version": "2024-10-21"},
            headers={"api-key": "env:AZURE_KEY", "X-Title": "vlmxai"},
            max_retries=0,
            concurrency=1,
        )
        judge.bind(tmp_path)
        verdicts = judge_all(judge, [make_request(i, lit=i / 4) for i in range(2)])
        sent = server.requests[0].headers
    assert verdicts[0].score == 3
    assert server.asked[0] == "/openai/deployments/mine/chat/completions?api-version=2024-10-21"
    assert (sent["api-key"], sent["x-title"]) == (VALUE, "vlmxai")
    assert "authorization" not in sent
    written = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    for trace in (repr(verdicts), repr(vars(judge)), written.decode(errors="replace"), caplog.text):
        assert VALUE not in trace
    assert VALUE.encode() not in pickle.dumps(judge)


def test_a_header_whose_variable_is_missing_is_found_before_the_run(monkeypatch):
    """By `check`, which names it."""
    monkeypatch.delenv("AZURE_KEY", raising=False)
    judge = VLMJudge("m", api_key_env=None, headers={"api-key": "env:AZURE_KEY"})
    with pytest.raises(
        ConfigurationError, match=r"AZURE_KEY, which is not\. Run `export AZURE_KEY"
    ):
        judge.check()


def test_a_server_that_sends_on_is_not_followed():
    """The address that it names is told; the request with its key goes nowhere else."""
    moved = error(308, headers={"Location": "https://me:pw@elsewhere.example/v1?x=1"})
    with OpenAIServer(lambda _: moved) as server:
        (judged,) = judge_all(make_judge(server.base_url), [make_request()])
    assert judged.reason is UnscoredReason.NOT_FOUND
    assert "the server sends on to https://elsewhere.example/v1" in judged.detail
    assert "pw" not in judged.detail

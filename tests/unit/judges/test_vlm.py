"""VLMJudge against a real server on loopback."""

import subprocess
import sys

import pytest

from helpers_judge import judge_all, make_judge, make_request
from lightning_vlmxai.errors import ConfigurationError
from lightning_vlmxai.judges import Judge, VLMJudge
from openai_server import OpenAIServer, verdict


def test_every_picture_is_judged_by_what_it_shows():
    """The server decodes each masked picture and its score comes back for that very picture."""
    with OpenAIServer() as server:
        verdicts = judge_all(
            make_judge(server.base_url), [make_request(i, lit=i / 16) for i in range(17)]
        )
    assert [v.score for v in verdicts] == [round(5 * i / 16, 2) for i in range(17)]
    assert [v.usage.calls for v in verdicts] == [1] * 17
    assert [v.usage.tokens for v in verdicts] == [1200] * 17
    assert verdicts[8].evaluation == "50% of the picture is lit."
    assert verdicts[8].justification == "So."


def test_request_holds_what_the_protocol_asks_for():
    """One user message carries the prompt, the predicted label and a lossless picture."""
    with OpenAIServer(lambda _: verdict(3)) as server:
        judge_all(make_judge(server.base_url), [make_request(label="tabby cat", lit=0.25)])
    (seen,) = server.requests
    assert seen.body["model"] == "loopback"
    assert [message["role"] for message in seen.body["messages"]] == ["user"]
    assert seen.label == "tabby cat"
    assert "{" not in seen.text
    assert seen.response_format == "json_schema"
    assert seen.picture_formats == ["PNG"]
    (picture,) = seen.pictures
    assert picture.size == (16, 16)
    assert picture.getpixel((0, 3)) == (255, 255, 255)
    assert picture.getpixel((0, 4)) == (0, 0, 0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"model": " "}, "Expected `model` to be the name of a model"),
        ({"base_url": "localhost:1/v1"}, "Begin it with http:// or https://"),
        ({"base_url": "http://me:secret@host/v1"}, "free of user names and passwords"),
        ({"base_url": "http://host/v1?api-version=1"}, "Pass it as query="),
        ({"headers": {"api-key": "abc"}}, "free of secrets, which configs would show"),
        ({"query": {"key": "abc"}}, "free of secrets, which logs of URLs would show"),
        ({"query": {"v": "env:SOME"}}, "free of secrets, which logs of URLs would show"),
        ({"headers": {"x": 1}}, "to be texts by name"),
        ({"wait_s": -1.0}, "Expected `wait_s` to be at least 0 seconds"),
        ({"style": "short"}, "Expected `style` to be one of original, concise, extended"),
        ({"view": "heat"}, "Expected `view` to be one of masked, overlay, both"),
        ({"picture_format": "webp"}, "Expected `picture_format` to be one of png, jpeg"),
        ({"samples": 0}, "Expected `samples` to be at least 1, got 0"),
        ({"max_retries": -1}, "Expected `max_retries` to be at least 0, got -1"),
        ({"concurrency": 0}, "Expected `concurrency` to be at least 1, got 0"),
        ({"min_side": -1}, "Expected `min_side` to be at least 0, got -1"),
        ({"timeout_s": 0}, "Expected `timeout_s` to be above 0 seconds"),
        ({"call_timeout_s": -1.0}, "Expected `call_timeout_s` to be above 0 seconds"),
        ({"request": {"model": "x"}}, "free of what the judge itself sets, got model"),
        ({"request": {"stop": {1}}}, "Expected `request` to be writable as JSON"),
    ],
)
def test_wrong_argument_says_what_to_change(arguments, message):
    """A wrong argument is refused at once by a message that names it."""
    with pytest.raises(ConfigurationError, match=message.replace("(", r"\(")):
        VLMJudge(**{"model": "m", **arguments})


def test_missing_key_is_found_before_the_run(monkeypatch):
    """Without the key's variable, `check` names it and says how to set it."""
    monkeypatch.delenv("SOME_KEY", raising=False)
    judge = VLMJudge("m", api_key_env="SOME_KEY")
    with pytest.raises(ConfigurationError, match=r"got SOME_KEY, which is not set\. Run `export"):
        judge.check()


def test_server_without_key_needs_none(monkeypatch):
    """With api_key_env=None nothing is looked up."""
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    VLMJudge("m", api_key_env=None).check()


def test_key_passed_by_mistake_is_refused_and_not_shown():
    """A key in place of a variable's name is refused by a message that does not repeat it."""
    with pytest.raises(ConfigurationError, match="of an environment variable") as caught:
        VLMJudge("m", api_key_env="sk-proj-AbCdEf123456")
    assert "AbCdEf" not in str(caught.value)


def test_key_with_a_line_break_inside_is_refused_and_not_shown(monkeypatch):
    """A key that no header can carry is refused without being repeated."""
    monkeypatch.setenv("SOME_KEY", "sk-abc\nsk-def")
    with pytest.raises(ConfigurationError, match="Copy the key again") as caught:
        VLMJudge("m", api_key_env="SOME_KEY").check()
    assert "sk-" not in str(caught.value)


def test_key_is_read_from_the_environment_and_sent(monkeypatch):
    """The named variable's value goes into the Authorization header."""
    monkeypatch.setenv("SOME_KEY", " sk-test-123 \n")
    with OpenAIServer(lambda _: verdict(3)) as server:
        judge_all(make_judge(server.base_url, api_key_env="SOME_KEY"), [make_request()])
    assert server.requests[0].headers["authorization"] == "Bearer sk-test-123"


def test_base_url_falls_to_the_environment(monkeypatch):
    """Without base_url, OPENAI_BASE_URL says where to go."""
    with OpenAIServer(lambda _: verdict(3)) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.base_url)
        (judged,) = judge_all(VLMJudge("m", api_key_env=None), [make_request()])
    assert judged.score == 3


@pytest.mark.slow
def test_importing_the_package_leaves_openai_alone():
    """Neither the package nor the judge's room imports openai before a judge is opened."""
    code = "import sys, lightning_vlmxai.judges; sys.exit('openai' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0  # noqa: S603


def test_vlm_judge_is_a_judge():
    """VLMJudge has what the protocol asks for."""
    assert isinstance(VLMJudge("m"), Judge)


def test_command_line_builds_the_judge():
    """LightningCLI's parser builds a judge from plain values by its class path."""
    from jsonargparse import ArgumentParser

    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--judge", type=Judge)
    parsed = parser.parse_object(
        {
            "judge": {
                "class_path": "lightning_vlmxai.judges.VLMJudge",
                "init_args": {"model": "m", "request": {"temperature": 0}, "samples": 3},
            }
        }
    )
    # Renamed in newer releases.
    instantiate = getattr(parser, "instantiate", None) or parser.instantiate_classes
    judge = instantiate(parsed).judge
    assert isinstance(judge, VLMJudge)
    assert judge.model == "m"

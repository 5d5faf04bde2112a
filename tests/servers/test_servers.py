"""Real servers between the judge and the tests' own, where they are installed."""

from __future__ import annotations

import pytest

from openai_server import OpenAIServer
from server_table import PROBES, judge
from started import MissingServerError, litellm, nginx


@pytest.mark.slow
@pytest.mark.parametrize("says_when", [True, False], ids=["429 and Retry-After", "its own 503"])
def test_behind_nginx_every_probe_is_judged(says_when: bool) -> None:
    """At four a second and 16 at a time, each picture with its own score."""
    with OpenAIServer() as upstream:
        try:
            with nginx(upstream.base_url, rate="4r/s", says_when=says_when) as base_url:
                right, _, _ = judge(base_url, 16)
        except MissingServerError as missing:
            pytest.skip(str(missing))
    assert right == PROBES
    assert len(upstream.requests) == PROBES


@pytest.mark.parametrize("concurrency", [1, 4, 16])
def test_behind_litellm_every_probe_is_judged(concurrency: int) -> None:
    """Each picture passes the proxy whole."""
    with OpenAIServer() as upstream:
        try:
            with litellm(upstream.base_url) as base_url:
                right, calls, _ = judge(base_url, concurrency)
        except MissingServerError as missing:
            pytest.skip(str(missing))
    assert (right, calls) == (PROBES, PROBES)

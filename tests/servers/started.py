"""Real servers on loopback, before or in place of the tests' own; what is missing is a reason."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

NGINX = """
daemon off; master_process off; pid {folder}/pid; error_log {folder}/error.log;
events {{}}
http {{
  access_log {folder}/access.log;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  client_max_body_size 20m;
  limit_req_zone $binary_remote_addr zone=judge:1m rate={rate};
  server {{
    listen 127.0.0.1:{port};
    location /v1/ {{
      limit_req zone=judge; {refusal}
      proxy_pass http://{upstream};
    }}
    location @limited {{
      add_header Retry-After 1 always;
      return 429 '{{"error": {{"message": "too many requests"}}}}';
    }}
  }}
}}
"""

_ENVIRONMENT = {
    "LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY": "true",  # it listens to loopback alone
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "NO_PROXY": "127.0.0.1",
}


class MissingServerError(Exception):
    """A server that isn't installed here; says how to have it."""


def free_port() -> int:
    """Return a port that nobody listens to."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def nginx(upstream: str, *, rate: str, says_when: bool) -> Iterator[str]:
    """Yield the base URL of an nginx with `limit_req` before a server.

    Args:
        upstream: Base URL of the server.
        rate: Such as "1r/s".
        says_when: Refuses with 429 and Retry-After; with its own 503 and no time if not.

    Raises:
        MissingServerError: Without nginx.
    """
    program = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    if program is None:
        raise MissingServerError("no nginx: install the system's package")
    port = free_port()
    refusal = "limit_req_status 429; error_page 429 = @limited;" if says_when else ""
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "nginx.conf"
        host = upstream.split("/")[2]
        config.write_text(
            NGINX.format(folder=folder, port=port, rate=rate, refusal=refusal, upstream=host)
        )
        url = f"http://127.0.0.1:{port}"
        # Without its own user: a test's folder belongs to whoever tests.
        command = [program, "-c", str(config), "-p", folder, "-e", f"{folder}/start.log"]
        with _running(command, url, Path(folder)):
            yield f"{url}/v1"


@contextlib.contextmanager
def litellm(upstream: str, *, model: str = "loopback") -> Iterator[str]:
    """Yield the base URL of a LiteLLM proxy before a server.

    Args:
        upstream: Base URL of the server.
        model: Under which it is offered.

    Raises:
        MissingServerError: Without LiteLLM.
    """
    program = os.environ.get("LITELLM") or shutil.which("litellm")
    if program is None:
        raise MissingServerError(
            "no LiteLLM: `pip install 'litellm[proxy]'` into an environment of its own, and "
            "LITELLM=its bin/litellm"
        )
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "config.yaml"
        params = {"model": f"openai/{model}", "api_base": upstream, "api_key": "none"}
        settings = {
            "model_list": [{"model_name": model, "litellm_params": params}],
            "litellm_settings": {"num_retries": 0, "telemetry": False},
            "router_settings": {"num_retries": 0, "disable_cooldowns": True},
        }
        config.write_text(json.dumps(settings))  # JSON is YAML
        url = f"http://127.0.0.1:{port}"
        command = [program, "--config", str(config), "--host", "127.0.0.1", "--port", str(port)]
        with _running(command, f"{url}/v1/models", Path(folder)):
            yield f"{url}/v1"


@contextlib.contextmanager
def _running(command: list[str], url: str, folder: Path) -> Iterator[None]:
    """Run a server while the block lasts; it is entered once something answers at the URL."""
    with (folder / "output.log").open("w") as output:
        process = subprocess.Popen(  # noqa: S603
            command,
            stdout=output,
            stderr=output,
            cwd=folder,
            env={**os.environ, **_ENVIRONMENT},
            start_new_session=True,
        )
    try:
        for _ in range(1200):
            if process.poll() is not None or _answers(url):
                break
            time.sleep(0.1)
        if process.poll() is not None or not _answers(url):
            raise MissingServerError(
                f"{command[0]} did not start: {(folder / 'output.log').read_text()[-500:]}"
            )
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _answers(url: str) -> bool:
    try:
        urllib.request.urlopen(url, timeout=5).close()  # noqa: S310
    except urllib.error.HTTPError as error:
        error.close()
        return True
    except OSError:
        return False
    return True

"""A page that is served while a run goes on."""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from lightning_vlmxai.report import ReportServer
from run_folders import make_round, write_run


def get(server: ReportServer, path: str, **headers: str) -> tuple[int, bytes]:
    """Return status and body of a request."""
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=10)
    connection.request("GET", path, headers=headers)
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    return answer.status, body


def make(run_dirs: Sequence[Path], addresses: Sequence[str], build: str) -> str:
    """Return a page that says what it was made of."""
    lines = sum(len((p / "rounds.jsonl").read_text().splitlines()) for p in run_dirs)
    return f"{lines} rounds, {addresses}, build {build}"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ReportServer]:
    """Yield a server of one run with one round, which is being watched."""
    write_run(tmp_path, [make_round(0)])
    server, stop = ReportServer(0, lambda: [tmp_path], make), threading.Event()
    thread = threading.Thread(target=server.watch, args=(stop, 0.01))
    thread.start()
    yield server
    stop.set()
    thread.join(10)
    assert not thread.is_alive()


def test_the_page_is_built_again_when_a_round_arrives(server: ReportServer, tmp_path: Path) -> None:
    """Once for the round, and not while nothing changes."""
    assert get(server, "/")[1].decode() == "1 rounds, ['files/0'], build 1"
    assert json.loads(get(server, "/build")[1])["build"] == "1"
    write_run(tmp_path, [make_round(1)])
    pause = threading.Event()
    for _ in range(500):
        if b"2 rounds" in get(server, "/")[1]:
            break
        pause.wait(0.01)
    assert b"2 rounds" in get(server, "/")[1]
    build = get(server, "/build")[1]
    assert not server.refresh()
    assert get(server, "/build")[1] == build


def test_only_pictures_of_the_run_are_served(server: ReportServer, tmp_path: Path) -> None:
    """No other file of it, and nothing outside it."""
    status, body = get(server, "/files/0/images/fit/000000.png")
    assert (status, body[:4]) == (200, b"\x89PNG")
    for path in (
        "/files/0/run.json",
        "/files/0/images/../run.json",
        "/files/0/images/..%2f..%2fsecret.png",
        "/files/1/images/fit/000000.png",
        "/files/0/images/none.png",
        "/samples.jsonl",
        "/../../etc/passwd",
    ):
        assert get(server, path)[0] == 404


def test_it_is_there_for_this_machine_only(server: ReportServer) -> None:
    """Bound to the loopback address; another host's name is refused."""
    assert server.server_address[0] == "127.0.0.1"
    assert get(server, "/", Host="evil.example")[0] == 403
    assert get(server, "/", Host=f"localhost:{server.server_port}")[0] == 200

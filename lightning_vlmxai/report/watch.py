"""Serves a page to this machine only, and builds it again as rounds arrive."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Sequence
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote

from .pictures import is_picture
from .progress import Progress

Make = Callable[[Sequence[Path], Sequence[str], str], str]
"""From run folders, their addresses and the name of a build to a page."""

_WATCHED = ("run.json", "rounds.jsonl", "samples.jsonl", "late.jsonl", "agreement.json")


class ReportServer(ThreadingHTTPServer):
    """A page at `/`, its build and how far the runs are at `/build`, pictures at `/files/<run>/`.

    Args:
        port: On 127.0.0.1; any free one if 0.
        find: Returns the run folders, as far as they are there by now.
        make: Builds the page.
    """

    daemon_threads = True

    def __init__(self, port: int, find: Callable[[], Sequence[Path]], make: Make) -> None:
        self._find, self._make = find, make
        self._signature: object = None
        self.run_dirs: Sequence[Path] = ()
        self.build, self.page = "0", b""
        self._progress: list[Progress] = []
        super().__init__(("127.0.0.1", port), _Handler)

    @property
    def url(self) -> str:
        """Where the page is."""
        return f"http://127.0.0.1:{self.server_port}/"

    def refresh(self) -> bool:
        """Build the page again if a run's files have changed; return whether they had."""
        run_dirs = self._find()
        signature = [(path, _stamp(path)) for path in run_dirs]
        if [of.run_dir for of in self._progress] != list(run_dirs):
            self._progress = [Progress(path) for path in run_dirs]
        for of in self._progress:
            of.look()
        if signature == self._signature:
            return False
        self._signature, self.run_dirs = signature, run_dirs
        build = str(int(self.build) + 1)
        addresses = [f"files/{number}" for number in range(len(run_dirs))]
        self.page = self._make(run_dirs, addresses, build).encode()
        self.build = build
        return True

    @property
    def status(self) -> str:
        """How far the runs are, in words."""
        return " · ".join(of.words for of in self._progress) or "no run folder yet"

    def watch(self, stop: threading.Event, poll_s: float = 1.0) -> None:
        """Serve, and look at the files every `poll_s` seconds, until `stop` is set."""
        self.refresh()
        thread = threading.Thread(target=self.serve_forever, name="vlmxai-report", daemon=True)
        thread.start()
        try:
            while not stop.wait(poll_s):
                self.refresh()
        finally:
            self.shutdown()
            thread.join()
            self.server_close()


def _stamp(run_dir: Path) -> list[tuple[int, int]]:
    # A folder's files are added to; what people agree on is written anew.
    files = (run_dir / name for name in _WATCHED)
    return [(stat.st_mtime_ns, stat.st_size) for f in files if f.exists() for stat in [f.stat()]]


class _Handler(BaseHTTPRequestHandler):
    server: ReportServer

    def do_GET(self) -> None:
        # A page elsewhere, whose name points to this machine, must not read a run.
        if self.headers.get("Host", "").split(":")[0] not in ("127.0.0.1", "localhost"):
            self.send_error(HTTPStatus.FORBIDDEN)
            return
        path = unquote(self.path.split("?")[0])
        picture = re.fullmatch(r"/files/(\d+)/(images/.+)", path)
        if path == "/":
            self._answer(self.server.page, "text/html; charset=utf-8")
        elif path == "/build":
            now = {"build": self.server.build, "status": self.server.status}
            self._answer(json.dumps(now).encode(), "application/json")
        elif picture:
            self._answer_picture(int(picture[1]), picture[2])
        else:
            self.send_error(HTTPStatus.NOT_FOUND)

    def _answer_picture(self, number: int, path: str) -> None:
        runs = self.server.run_dirs
        if number < len(runs) and is_picture(root := runs[number].resolve(), path):
            kind = Path(path).suffix.lower().lstrip(".").replace("jpg", "jpeg")
            self._answer((root / path).read_bytes(), f"image/{kind}")
        else:
            self.send_error(HTTPStatus.NOT_FOUND)

    def _answer(self, body: bytes, kind: str) -> None:
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base's name
        """Stay silent: a line for each poll would bury what matters."""

"""A server on loopback that speaks the chat completions protocol and looks at what it is sent."""

from __future__ import annotations

import base64
import contextlib
import io
import json
import re
import socket
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any

import numpy as np
from PIL import Image

_DATA_URL = re.compile(r"data:image/(png|jpeg);base64,(.*)", re.DOTALL)
_LABEL = re.compile(r"<<(.*?)>>", re.DOTALL)


@dataclass(frozen=True, kw_only=True)
class Seen:
    """A request as the server saw it, with every picture decoded."""

    number: int
    headers: Mapping[str, str]
    body: dict[str, Any]
    text: str
    label: str
    pictures: list[Image.Image]
    picture_formats: list[str]
    picture_bytes: list[bytes]
    connection: int

    @property
    def response_format(self) -> str:
        """Return the kind of answer that was asked for."""
        return str(self.body.get("response_format", {}).get("type", "text"))


@dataclass(frozen=True, kw_only=True)
class Reply:
    """What the server sends, exactly."""

    status: int = 200
    body: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    content_type: str = "application/json"
    drip_s: float = 0.0
    """Send one byte each so many seconds."""
    reset_after: int | None = None
    """Reset the connection after so many bytes of the body."""
    drop_after: bool = False
    """Close the connection after the reply, without having announced it."""


def completion(content: str | None, **changes: Any) -> Reply:
    """Return a chat completion with this content; `changes` go into its first choice."""
    message = {"role": "assistant", "content": content, **changes.pop("message", {})}
    choice = {"index": 0, "finish_reason": "stop", "message": message, **changes}
    return Reply(
        body=json.dumps(
            {
                "id": "chatcmpl-1",
                "object": "chat.completion",
                "created": 1,
                "model": "loopback",
                "choices": [choice],
                "usage": {"prompt_tokens": 1000, "completion_tokens": 200, "total_tokens": 1200},
            }
        ),
        headers={"x-request-id": "req-1"},
    )


def error(status: int, code: str = "", message: str = "no", **rest: Any) -> Reply:
    """Return an error in the protocol's form; `rest` are fields of `Reply` or of the error."""
    fields = {key: rest.pop(key) for key in ("param",) if key in rest}
    body = {"error": {"message": message, "type": "error", "code": code or None, **fields}}
    return Reply(status=status, body=json.dumps(body), **rest)


def verdict(
    score: object, evaluation: str = "It looks there.", justification: str = "So."
) -> Reply:
    """Return a well-formed judgement with this score."""
    answer = {"evaluation": evaluation, "justification": justification, "score": score}
    return completion(json.dumps(answer))


def lit_share(picture: Image.Image) -> float:
    """Return the share of pixels, in [0, 1], that are brighter than a tenth in some channel."""
    return float((np.asarray(picture.convert("RGB")).max(axis=2) > 25).mean())


def judge_by_light(seen: Seen) -> Reply:
    """Return a score of five times the share of lit pixels of the first picture."""
    share = lit_share(seen.pictures[0])
    return verdict(round(5 * share, 2), f"{share:.0%} of the picture is lit.")


class OpenAIServer:
    """Answers on loopback while its `with` block lasts, and remembers every request.

    Args:
        answer: Gives the reply to a request.
        latency_s: How long each answer takes.

    Example:
        with OpenAIServer(lambda _: verdict(4)) as server:
            judge = VLMJudge("m", base_url=server.base_url, api_key_env=None)
    """

    def __init__(
        self, answer: Callable[[Seen], Reply] = judge_by_light, *, latency_s: float = 0.0
    ) -> None:
        self.answer = answer
        self.latency_s = latency_s
        self.requests: list[Seen] = []
        self.answered = 0
        self.closing = threading.Event()
        self.models: Mapping[str, list[str]] = {}
        """What paths list as models, such as `{"/v1/models": ["m"]}`; 404 elsewhere."""
        self.only_path = ""
        """Where completions are; anywhere if empty."""
        self.asked: list[str] = []
        """Path and query of every request, lists of models among them."""
        self._lock = threading.Lock()
        self._connections: dict[int, socket.socket] = {}
        self._server: ThreadingHTTPServer
        self._thread: threading.Thread

    @property
    def base_url(self) -> str:
        """Return what a client is to be given."""
        return f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    @property
    def open_connections(self) -> int:
        """Return how many clients are connected."""
        with self._lock:
            return len(self._connections)

    def __enter__(self) -> OpenAIServer:
        self._server = _Server(("127.0.0.1", 0), _handler_of(self))
        # Polled often, so that leaving the block takes no time.
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.closing.set()
        self._server.shutdown()
        self._thread.join()
        with self._lock:
            for connection in self._connections.values():
                with contextlib.suppress(OSError):  # the client was faster
                    connection.shutdown(socket.SHUT_RDWR)
        self._server.server_close()  # waits for the handlers

    def see(self, headers: Mapping[str, str], raw: bytes, connection: int) -> Seen:
        """Return the request, after having decoded all of it."""
        body = json.loads(raw)
        parts = body["messages"][0]["content"]
        text = "".join(part["text"] for part in parts if part["type"] == "text")
        urls = [part["image_url"]["url"] for part in parts if part["type"] == "image_url"]
        matches = [_DATA_URL.fullmatch(url) for url in urls]
        files = [base64.b64decode(match[2], validate=True) for match in matches if match]
        pictures = [Image.open(io.BytesIO(data)) for data in files]
        for picture in pictures:
            picture.load()
        with self._lock:
            seen = Seen(
                number=len(self.requests),
                headers={key.lower(): value for key, value in headers.items()},
                body=body,
                text=text,
                label=_LABEL.findall(text)[-1],
                pictures=pictures,
                picture_formats=[str(picture.format) for picture in pictures],
                picture_bytes=files,
                connection=connection,
            )
            self.requests.append(seen)
        return seen

    def enter(self, connection: socket.socket) -> int:
        """Note that a client has connected."""
        with self._lock:
            self._connections[connection.fileno()] = connection
            return connection.fileno()

    def leave(self, number: int) -> None:
        """Note that a client has gone."""
        with self._lock:
            self._connections.pop(number, None)

    def count_answer(self) -> None:
        """Note that a reply was sent in full."""
        with self._lock:
            self.answered += 1


class _Server(ThreadingHTTPServer):
    daemon_threads = False
    request_queue_size = 128

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: clients of these tests hang up on purpose."""


def _handler_of(owner: OpenAIServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def setup(self) -> None:
            super().setup()
            self.number = owner.enter(self.connection)

        def finish(self) -> None:
            owner.leave(self.number)
            super().finish()

        def log_message(self, *args: object) -> None:
            pass

        def do_GET(self) -> None:
            owner.asked.append(self.path)
            names = owner.models.get(self.path.split("?")[0])
            data = [{"id": name, "object": "model"} for name in names or ()]
            listed = Reply(body=json.dumps({"object": "list", "data": data}))
            self.send(error(404, message="Not Found") if names is None else listed)

        def do_POST(self) -> None:
            owner.asked.append(self.path)
            raw = self.rfile.read(int(self.headers["Content-Length"]))
            if owner.only_path and self.path.split("?")[0] != owner.only_path:
                self.send(error(404, message="Not Found"))
                return
            seen = owner.see(self.headers, raw, self.number)
            if owner.latency_s:
                time.sleep(owner.latency_s)
            self.send(owner.answer(seen))

        def send(self, reply: Reply) -> None:
            body = reply.body.encode()
            self.send_response(reply.status)
            for key, value in reply.headers.items():
                self.send_header(key, value)
            self.send_header("Content-Type", reply.content_type)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if reply.reset_after is not None:
                self.wfile.write(body[: reply.reset_after])
                self.wfile.flush()
                # Close with a reset instead of a farewell.
                linger = b"\x01\x00\x00\x00\x00\x00\x00\x00"
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                self.close_connection = True
                return
            if reply.drip_s:
                for i in range(len(body)):
                    self.wfile.write(body[i : i + 1])
                    self.wfile.flush()
                    if owner.closing.wait(reply.drip_s):
                        return
            else:
                self.wfile.write(body)
            owner.count_answer()
            if reply.drop_after:
                self.close_connection = True

    return Handler

"""A judge on 127.0.0.1 that answers as a test scripts it, and sessions to judge."""

import dataclasses
import json
import socket
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from anchoredit_jax.evaluation.judge import JudgeConfig

KEY = "sk-test-0123456789"
GOOD = '{"reason": "as asked", "instruction": 8, "consistency": 9}'


@dataclasses.dataclass(frozen=True)
class Reply:
    """Attributes:
    text: the model's answer.
    body: of the response, in place of a chat completion.
    drop: close the connection instead.
    hold: wait for this before replying.
    """

    text: str | None = GOOD
    status: int = 200
    headers: tuple[tuple[str, str], ...] = ()
    body: str | None = None
    drop: bool = False
    hold: threading.Event | None = None
    finish: str = "stop"


class FakeJudge(ThreadingHTTPServer):
    """Attributes:
    reply: gives the reply to request number i (from 0) with this parsed body.
    requests: the parsed bodies, in the order of arrival.
    arrived: how many requests have come, to wait for.
    """

    daemon_threads = True
    block_on_close = False

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.reply: Callable[[int, dict], Reply] = lambda number, body: Reply()
        self.requests: list[dict] = []
        self.authorizations: list[str] = []
        self.arrived = threading.Semaphore(0)
        self.lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"

    def script(self, *replies: Reply) -> None:
        """These replies in turn, good ones after them."""
        self.reply = lambda number, body: (
            replies[number] if number < len(replies) else Reply()
        )

    def texts(self, number: int) -> list[str]:
        """The text parts of a request."""
        (message,) = self.requests[number]["messages"]
        return [part["text"] for part in message["content"] if part["type"] == "text"]

    def images(self, number: int) -> list[str]:
        (message,) = self.requests[number]["messages"]
        parts = [part for part in message["content"] if part["type"] == "image_url"]
        return [part["image_url"]["url"] for part in parts]

    def handle_error(self, request, client_address):
        """A client that went away is part of some tests."""


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        server = self.server
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with server.lock:
            number = len(server.requests)
            server.requests.append(body)
            server.authorizations.append(self.headers["Authorization"])
        server.arrived.release()
        reply = server.reply(number, body)
        if reply.hold:
            reply.hold.wait(20)
        if reply.drop:
            self.connection.shutdown(socket.SHUT_RDWR)
            return
        content = (reply.body or _completion(reply)).encode()
        self.send_response(reply.status)
        for name, value in (
            ("Content-Type", "application/json"),
            ("Content-Length", str(len(content))),
            *reply.headers,
        ):
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_):
        pass


def _completion(reply: Reply) -> str:
    if reply.status != 200:
        return json.dumps({"error": {"message": "scripted", "code": reply.status}})
    message = {"role": "assistant", "content": reply.text}
    choice = {"index": 0, "message": message, "finish_reason": reply.finish}
    usage = {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110}
    return json.dumps({"id": "x", "choices": [choice], "usage": usage})


@pytest.fixture
def judge(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    server = FakeJudge()
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def config(judge) -> JudgeConfig:
    return JudgeConfig("tiny-vlm", judge.url, timeout=10.0, retries=2, parallel=1)


@pytest.fixture
def replies() -> type[Reply]:
    return Reply


@pytest.fixture
def make_sessions():
    def make(*turns: int):
        """Sessions "s0", "s1", ... of so many turns, all images different."""
        rng = np.random.default_rng(0)
        for index, count in enumerate(turns):
            frames = rng.integers(0, 256, (count + 1, 8, 6, 3), np.uint8)
            texts = [f"edit {index}.{turn}" for turn in range(1, count + 1)]
            yield f"s{index}", frames, texts

    return make


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "runs" / "judge.jsonl"

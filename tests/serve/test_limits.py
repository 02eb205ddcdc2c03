"""Bounded in everything, and nothing is left of clients that go, stall or never say a word."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from anydraft.serve.errors import ApiError
from anydraft.serve.schema import ChatRequest, CompletionRequest, read
from tests.serve.tiny import Running, Tiny, wait_for

ROOT = Path(__file__).parents[2]
CHUNKED = (
    b"POST /v1/completions HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer k\r\n"
    b"content-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n"
)
LONG = {"model": "tiny", "prompt": "x", "temperature": 0, "max_tokens": 3000, "stream": True}


def request(body: dict[str, Any], *, length: int | None = None) -> bytes:
    data = json.dumps(body).encode()
    length = len(data) if length is None else length
    head = "POST /v1/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
    return f"{head}content-length: {length}\r\n\r\n".encode() + data


def connect(running: Running, data: bytes) -> socket.socket:
    sock = socket.create_connection(("127.0.0.1", running.port))
    sock.settimeout(20)
    sock.sendall(data)
    return sock


def told_now(sock: socket.socket) -> bytes:
    """What has come already, soon."""
    sock.settimeout(0.005)
    try:
        return sock.recv(1 << 16)
    except TimeoutError:
        return b""


def closed(sock: socket.socket) -> bytes:
    """What still comes until the other end closes."""
    told = b""
    while part := sock.recv(1 << 16):
        told += part
    return told


def active(running: Running) -> int:
    return running.serving.streams.active


def test_a_full_queue_and_a_long_wait() -> None:
    with Running(Tiny(slow=0.01), max_active=1, max_queue=1, queue_timeout=1) as running:
        with connect(running, request(LONG)):
            assert wait_for(lambda: active(running) == 1)
            with connect(running, request(LONG)) as second:
                assert wait_for(lambda: running.serving.admission.waiting == 1)
                third = httpx.post(running.address + "/v1/completions", json=LONG)
                assert third.status_code == 429 and int(third.headers["retry-after"]) >= 1
                assert third.json()["error"]["type"] == "rate_limit_error"
                assert b" 503 " in second.recv(1 << 16)  # it has waited for a second
        assert running.is_clean()


def test_caches_are_bounded() -> None:
    """A request that needs more than there is is refused; two that fit one by one take turns."""
    cost = 64 * 64 * 5  # 200 tokens and a draft's 64 are 5 pages of 64
    with Running(Tiny(slow=0.002), cache_bytes=cost) as running:
        body = {**LONG, "max_tokens": 199}
        refused = httpx.post(running.address + "/v1/completions", json={**LONG, "max_tokens": 300})
        assert refused.status_code == 400 and refused.json()["error"]["code"]
        most = 0
        with connect(running, request(body)) as one, connect(running, request(body)) as two:
            ends = [threading.Thread(target=read_to_done, args=(sock,)) for sock in (one, two)]
            for thread in ends:
                thread.start()
            while any(thread.is_alive() for thread in ends):
                most = max(most, active(running))
                time.sleep(0.005)
        assert most == 1
        assert running.is_clean()


def read_to_done(sock: socket.socket) -> None:
    told = b""
    while b"[DONE]" not in told and (part := sock.recv(1 << 16)):
        told += part


def test_a_killed_client_is_noticed() -> None:
    """kill -9 while it streams, and while it waits for a whole answer or in the queue."""
    with Running(Tiny(slow=0.005), max_active=2) as running:
        code = "import httpx, sys; httpx.post(sys.argv[1], json=eval(sys.argv[2]), timeout=99)"
        url = running.address + "/v1/completions"
        bodies = [LONG, {**LONG, "stream": False}, LONG]
        clients = [subprocess.Popen([sys.executable, "-c", code, url, repr(b)]) for b in bodies]
        admission = running.serving.admission
        assert wait_for(lambda: active(running) == 2 and admission.waiting == 1)
        for client in clients:
            client.kill()
            client.wait()
        assert running.is_clean(3)  # each would have gone on for 15 seconds


def test_a_slow_reader_holds_itself_back_and_is_cut_off_at_last() -> None:
    with Running(Tiny(), write_timeout=1.0, max_active=4) as running:
        # Small buffers on both sides: else the kernel takes the whole answer. Connections have the
        # listening socket's.
        [listening] = running.server.servers[0].sockets
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 14)
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.connect(("127.0.0.1", running.port))
        # With all its details a token takes kilobytes: the buffers between us are full soon.
        sock.sendall(request({**LONG, "logprobs": 20, "origins": True}))
        assert wait_for(lambda: active(running) == 1)
        quick = httpx.post(
            running.address + "/v1/completions", json={**LONG, "max_tokens": 50, "stream": False}
        )
        assert quick.json()["usage"]["completion_tokens"] == 50
        assert running.is_clean()
        with pytest.raises(ConnectionError):
            closed(sock)  # reset: nobody waits for the rest of it
        sock.close()


@pytest.mark.parametrize("part", [b"", b"POST /v1/comp", b"GET / HTTP/1.1\r\nhost: localhost\r\n"])
def test_half_a_head_is_not_waited_for_for_ever(part: bytes) -> None:
    with Running(Tiny(), read_timeout=0.5) as running:
        with connect(running, part) as sock:
            assert closed(sock) == b""
        with connect(running, b"GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n" + part) as sock:
            assert b'"ok"' in closed(sock)  # nor behind a whole one


@pytest.mark.parametrize(
    ("begin", "more", "status"),
    [
        (b"GET /", b"a" * 4096, b" 431 "),
        (b"GET /health HTTP/1.1\r\nhost: localhost\r\nx: ", b"a" * 4096, b" 431 "),
        (b"GET /health HTTP/1.1\r\nhost: localhost\r\n", b"x: y\r\n" * 999, b" 431 "),
        # The lines behind a body, and what may stand beside the size of a part of it.
        (CHUNKED + b"1\r\n{\r\n0\r\n", b"x: y\r\n" * 999, b" 431 "),
        (CHUNKED + b"1;", b"a" * 4096, b" 431 "),
    ],
)
def test_a_head_without_end_is_cut(begin: bytes, more: bytes, status: bytes) -> None:
    """Before any key is looked at; as it comes, or all at once."""
    with Running(Tiny(), api_keys=("k",)) as running:
        with connect(running, begin) as sock:
            sent, told = 0, b""
            try:
                while sent < 8 << 20 and not told:
                    sock.sendall(more)
                    sent += len(more)
                    told = told_now(sock)
            except ConnectionError:
                pass
            assert sent < 1 << 20
            assert status in told or not told  # a reset may overtake it
        with connect(running, b"GET /health HTTP/1.1\r\nhost: localhost\r\n") as sock:
            sock.sendall(b"x: " + b"a" * (60 << 10) + b"\r\n\r\n")
            assert b" 200 " in sock.recv(1 << 16)
        assert running.is_clean()


def test_a_whole_head_that_is_too_long() -> None:
    head = b"GET /health HTTP/1.1\r\nhost: localhost\r\n" + b"x: %b\r\n" % (b"y" * 990) * 70
    with Running(Tiny()) as running, connect(running, head + b"\r\n") as sock:
        assert b" 431 " in closed(sock)


def test_half_a_body_is_not_waited_for_either() -> None:
    with Running(Tiny(), read_timeout=0.5) as running:
        with connect(running, request(LONG, length=10**6)) as sock:
            assert b" 408 " in closed(sock)
        with connect(running, request(LONG, length=10**6)) as sock:
            sock.shutdown(socket.SHUT_WR)
            closed(sock)
        with connect(running, request(LONG, length=10**9)) as sock:
            assert b" 413 " in closed(sock)
        assert running.is_clean()


OK = {"model": "tiny", "prompt": "x", "max_tokens": 1}


@pytest.mark.parametrize(
    ("wrong", "param"),
    [
        ({"prompt": [{}] * 450000}, "prompt"),
        ({"allowed_token_ids": ["a"] * 400000}, "allowed_token_ids"),
        ({"stop": [1] * 600000}, "stop"),
        ({"messages": [1] * 600000}, "messages"),
        ({"tools": [{}] * 450000, "messages": [{}]}, "tools"),
        ({"logit_bias": dict.fromkeys(map(str, range(140000)), "x")}, None),
        (dict.fromkeys((f"f{i}" for i in range(140000)), 0), None),
    ],
    ids=["prompt", "ids", "stop", "messages", "tools", "bias", "unknown"],
)
def test_a_wrong_body_costs_little_more_than_one_that_is_right(
    wrong: dict[str, Any], param: str | None
) -> None:
    """Of two MiB; what it takes on the event loop stops all others."""
    kind = ChatRequest if "messages" in wrong else CompletionRequest
    body = json.dumps({**({} if "messages" in wrong else OK), "model": "tiny", **wrong}).encode()
    started = time.process_time()
    json.loads(body)
    plain = time.process_time() - started
    with pytest.raises(ApiError) as raised:
        read(kind, body)
    assert raised.value.status == 400 and raised.value.param == param
    assert time.process_time() - started < 10 * plain + 0.2


def test_strings_that_are_sought_are_few_and_short(running: Running) -> None:
    url = running.address + "/v1/completions"
    for name in ("stop", "bad_words"):
        for value in (["z"] * 65, ["z" * 1025]):
            told = httpx.post(url, json={**OK, name: value})
            assert told.status_code == 400 and told.json()["error"]["param"] == name
            assert "at most" in told.text
        assert httpx.post(url, json={**OK, name: ["z" * 1024] * 64}).status_code == 200
    told = httpx.post(url, json={**OK, "stop": "z" * 1025})
    assert told.status_code == 400 and "at most 1024" in told.text


def test_a_request_has_its_time() -> None:
    with Running(Tiny(slow=0.01), request_timeout=0.5) as running:
        whole = httpx.post(running.address + "/v1/completions", json={**LONG, "stream": False})
        assert whole.status_code == 504 and whole.json()["error"]["code"] == "timeout"
        streamed = httpx.post(running.address + "/v1/completions", json=LONG)
        last = streamed.text.strip().rpartition("data: ")[2]
        assert streamed.status_code == 200 and json.loads(last)["error"]["code"] == "timeout"
        assert running.is_clean()


def test_a_models_failure_is_told_and_the_server_goes_on(caplog: Any) -> None:
    model = Tiny()
    with Running(model) as running:
        url = running.address + "/v1/completions"
        body = {**LONG, "max_tokens": 5, "stream": False}
        row = model._row
        model._row = lambda *_: 1 / 0  # type: ignore[method-assign]
        told = httpx.post(url, json=body)
        assert told.status_code == 500 and "ZeroDivisionError" in told.json()["error"]["message"]
        model._row = row  # type: ignore[method-assign]
        assert httpx.post(url, json=body).status_code == 200
        assert running.is_clean()
    assert "_row" in caplog.text  # where it was


SERVE = """
import sys
sys.path[:0] = [{root!r}]
from anydraft import cli
from anydraft.cli import serve
from tests.serve.tiny import Tiny
from anydraft import SpeculativeSession
serve.make_session = lambda args, sampling: SpeculativeSession(Tiny(slow=0.01), "lookup")
sys.exit(cli.main(["serve", "--target", "tiny", "--port", "0", *sys.argv[1:]]))
"""


class Process:
    """`anydraft serve` in a process of its own."""

    def __init__(self, log: Path, *options: str) -> None:
        self._log = log
        code = SERVE.format(root=str(ROOT))
        self.process = subprocess.Popen(
            [sys.executable, "-c", code, *options], stderr=log.open("w"), env=dict(os.environ)
        )
        assert wait_for(lambda: "http://" in self.log(), 30), self.log()
        self.address = self.log().partition("http://")[2].partition(":")[2].partition(":")[0]
        self.address = f"http://127.0.0.1:{self.address}"

    def log(self) -> str:
        return self._log.read_text()


@pytest.mark.parametrize("told", [False, True])
def test_sigterm_lets_what_goes_on_end_and_prompts_are_logged_only_if_asked(
    tmp_path: Path, told: bool
) -> None:
    serving = Process(tmp_path / "log", *(["--log-prompts"] if told else []))
    url = serving.address + "/v1/completions"
    body = {**LONG, "max_tokens": 100, "prompt": "a secret SAY(" + "tale " * 15 + ")YAS"}
    httpx.post(url, json={**body, "unknown of a secret": 1})
    httpx.post(url, content=b'{"prompt": "a secret', headers={"content-type": "application/json"})
    with httpx.stream("POST", url, json=body) as answer:
        lines = answer.iter_lines()
        next(lines)
        serving.process.send_signal(signal.SIGTERM)
        time.sleep(0.1)
        with pytest.raises(httpx.TransportError):
            httpx.post(url, json=body)  # nobody new
        rest = "\n".join(lines)
    assert rest.rstrip().endswith("[DONE]")
    assert serving.process.wait(10) == 0
    logged = serving.log()
    assert ("secret" in logged) == told and "tale" not in logged.replace(str(body["prompt"]), "")
    assert "200: prompt" in logged  # who asked for how much is


def test_what_does_not_end_is_cut_after_the_drain_timeout(tmp_path: Path) -> None:
    serving = Process(tmp_path / "log", "--drain-timeout", "1")
    with httpx.stream("POST", serving.address + "/v1/completions", json=LONG, timeout=20) as answer:
        lines = answer.iter_lines()
        next(lines)
        started = time.monotonic()
        serving.process.send_signal(signal.SIGTERM)
        with pytest.raises(httpx.TransportError):
            for _ in lines:
                pass
    assert serving.process.wait(10) == 0
    assert time.monotonic() - started < 10  # 30 more seconds of text were to come


def test_metrics_add_up() -> None:
    with Running(Tiny()) as running:
        url = running.address + "/v1/completions"
        body = {**LONG, "prompt": "abcabc SAY(abcabcabcabcabc)YAS", "stream": False}
        made = httpx.post(url, json={**body, "origins": True}).json()
        httpx.post(url, json={**body, "model": "no"})
        lines = httpx.get(running.address + "/metrics").text.splitlines()
        found = dict(line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
        value = {name: float(number) for name, number in found.items()}
        stats = made["choices"][0]["anydraft"]["stats"]
        assert value['anydraft_tokens_total{origin="accepted"}'] == stats["accepted"] > 0
        assert value["anydraft_drafted_tokens_total"] == stats["drafted"]
        assert value["anydraft_target_calls_total"] == stats["target_calls"]
        tokens = sum(v for name, v in value.items() if name.startswith("anydraft_tokens_total"))
        assert tokens == stats["tokens"] == made["usage"]["completion_tokens"]
        assert value['anydraft_responses_total{status="404"}'] == 1
        assert value['anydraft_texts_total{reason="stop"}'] == 1
        assert value["anydraft_active_texts"] == value["anydraft_cache_bytes_reserved"] == 0
        assert value["anydraft_first_token_seconds_count"] == 1

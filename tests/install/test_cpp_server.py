"""examples/cpp_server as its clients see it. `make test-cpp-server` builds it and names it here."""

from __future__ import annotations

import http.client
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("transformers")
pytest.importorskip("gguf")

from gguf_toys import write
from native_toys import build

from anydraft import SamplingParams, SpeculativeSession, native
from tests.docs.pages import ROOT, blocks_of

PROGRAM = os.environ.get("ANYDRAFT_SERVER")
pytestmark = pytest.mark.skipif(PROGRAM is None, reason="make test-cpp-server builds the server")
MERGES = [("a", "b"), ("b", "c"), ("ab", "c")], [("b", "a"), ("c", "c"), ("a", "b")]
PROMPTS = ["abcab", "cab", "bbcacab", "aabbcc", "c", "abc" * 20, "Hello", "cabbage"]
LONG = 3000  # tokens: seconds of work for these models


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two GGUF files with different vocabularies."""
    folder = tmp_path_factory.mktemp("models")
    paths = []
    for name, merges in zip(("target", "drafter"), MERGES, strict=True):
        kind = "llama" if name == "target" else "qwen2"
        model = build(kind, folder / name, max_position_embeddings=4096)
        paths.append(folder / f"{name}.gguf")
        write(model, paths[-1], kind, merges)
    return paths


@pytest.fixture(scope="module")
def session(files: list[Path]) -> SpeculativeSession:
    target, drafter = (native.load(path, row_costs=[0.0, *range(1, 9)]) for path in files)
    assert target.vocabulary != drafter.vocabulary
    return SpeculativeSession(target, drafter, bridge="slem", draft_length=8, draft_confidence=0.4)


@pytest.fixture(scope="module")
def port(files: list[Path]) -> Iterator[int]:
    arguments = []
    for path in files:
        table = path.with_suffix(".table")
        export = [sys.executable, "-m", "anydraft", "vocab", "--export", str(table), str(path)]
        subprocess.run(export, check=True, capture_output=True)
        arguments += [str(path), str(table)]
    assert PROGRAM is not None
    server = subprocess.Popen([PROGRAM, *arguments, "0"], stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        said = [server.stdout.readline() for _ in range(2)]
        assert "listening on" in said[1], said
        yield int(said[1].rsplit(":", 1)[1])
        server.send_signal(signal.SIGTERM)
        assert server.wait(20) == 0
    finally:
        server.kill()


def connect(port: int, body: Any = None, path: str = "/v1/completions") -> Any:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    if body is None:
        connection.request("GET", path)
    else:
        text = body if isinstance(body, str | bytes) else json.dumps(body)
        connection.request("POST", path, text, {"Content-Type": "application/json"})
    return connection


def ask(port: int, body: Any = None, path: str = "/v1/completions") -> tuple[int, Any]:
    answer = connect(port, body, path).getresponse()
    return answer.status, json.loads(answer.read() or "null")


def health(port: int) -> dict[str, Any]:
    return dict(ask(port, path="/health")[1])


def pieces(answer: Any) -> Iterator[dict[str, Any]]:
    """The events of a streamed answer, up to [DONE]."""
    assert answer.status == 200 and answer.headers["Content-Type"] == "text/event-stream"
    while line := answer.readline():
        if line.startswith(b"data: [DONE]"):
            return
        if line.startswith(b"data: "):
            yield json.loads(line[6:])
    raise AssertionError("the stream broke off")


def text_of(port: int, body: dict[str, Any]) -> tuple[str, str]:
    """Text and reason, whole or put together from pieces."""
    if not body.get("stream"):
        status, told = ask(port, body)
        assert status == 200, told
        return told["choices"][0]["text"], told["choices"][0]["finish_reason"]
    events = [event["choices"][0] for event in pieces(connect(port, body).getresponse())]
    return "".join(event["text"] for event in events), events[-1]["finish_reason"]


@pytest.mark.parametrize("temperature", [0, 0.8])
def test_concurrent_texts_are_those_of_python(
    port: int, session: SpeculativeSession, temperature: float
) -> None:
    sampling = SamplingParams(temperature=temperature, seed=7, max_tokens=100)
    bodies = [
        {"prompt": prompt, "max_tokens": 100, "temperature": temperature, "stream": i % 2 == 0}
        for i, prompt in enumerate(PROMPTS)
    ]
    told: list[Any] = [None] * len(bodies)

    def client(i: int) -> None:
        told[i] = text_of(port, {**bodies[i], "seed": 7})

    threads = [threading.Thread(target=client, args=[i]) for i in range(len(bodies))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    plain = SpeculativeSession(session.target)
    for prompt, (text, reason) in zip(PROMPTS, told, strict=True):
        expected = session.generate(prompt, sampling=sampling)
        assert (text, reason) == (expected.text, expected.finish_reason), prompt
        assert text == plain.generate(prompt, sampling=sampling).text  # slem: the seed's own text


def test_requests_share_the_calls(port: int) -> None:
    """A short request ends while a long one, some of which has been read, goes on."""
    long = connect(port, {"prompt": "abc", "max_tokens": LONG, "stream": True, "temperature": 0})
    events = pieces(long.getresponse())
    next(events)
    before = health(port)
    assert before["running"] == 1
    status, told = ask(port, {"prompt": "cab", "max_tokens": 40, "temperature": 0})
    after = health(port)
    assert status == 200 and after["running"] == 1
    shared = after["requests_fed"] - before["requests_fed"]
    calls = after["target_calls"] - before["target_calls"]
    assert shared - calls >= told["usage"]["target_calls"] - 2  # all but where they met and parted
    long.close()


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_goes_cancels_its_request(port: int, stream: bool) -> None:
    wait_for(port, running=0)
    before = health(port)["target_calls"]
    body = {"prompt": "abc", "max_tokens": LONG, "stream": stream, "temperature": 0}
    connection = connect(port, body)
    if stream:
        next(pieces(connection.getresponse()))
    wait_for(port, running=1)
    connection.sock.close()
    wait_for(port, running=0)
    assert health(port)["target_calls"] - before < LONG / 4  # not decoded to its end


def wait_for(port: int, running: int) -> None:
    end = time.monotonic() + 30
    while health(port)["running"] != running:
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        ("{", 400, "expected a body of JSON"),
        ([], 400, "an object"),
        ({}, 400, "expected a prompt"),
        ({"prompt": None}, 400, "expected a prompt"),
        ({"prompt": ["a"]}, 400, 'expected prompt to be text, got ["a"]'),
        ({"prompt": "a", "n": 2}, 400, "unknown field: n"),
        ({"prompt": "a", "max_tokens": 1.5}, 400, "expected max_tokens to be a whole number"),
        ({"prompt": "a", "max_tokens": 0}, 400, "expected max_tokens >= 1"),
        ({"prompt": "a", "top_p": 2}, 400, "top_p"),
        ({"prompt": "a", "temperature": -1}, 400, "temperature"),
        ({"prompt": "a", "seed": -1}, 400, "expected seed to be a number >= 0"),
        ({"prompt": "a", "model": "other"}, 404, "expected model target, got other"),
        ({"prompt": ""}, 400, "prompt"),
        ({"prompt": "a" * 5000}, 400, "4096"),
        (b'{"prompt": "\xff"}', 400, "expected a body of JSON"),
    ],
)
def test_errors_say_what_is_wrong(port: int, body: Any, status: int, message: str) -> None:
    got, told = ask(port, body)
    assert got == status and message in told["error"]["message"], told


def test_null_is_no_seed(port: int) -> None:
    body = {"prompt": "abc", "max_tokens": 100, "temperature": 1.5, "seed": None}
    assert len({text_of(port, body) for _ in range(4)}) > 1
    assert len({text_of(port, {**body, "seed": 0}) for _ in range(4)}) == 1


@pytest.mark.skipif(shutil.which("curl") is None, reason="no curl")
def test_the_guides_command(port: int, session: SpeculativeSession) -> None:
    """What docs/guides/cpp.md says to type, with this port."""
    [command] = [
        line
        for block in blocks_of(ROOT / "docs" / "guides" / "cpp.md")
        for line in block.code.splitlines()
        if line.startswith("curl")
    ]
    words = shlex.split(command.replace(":8080", f":{port}"))
    done = subprocess.run(words, capture_output=True, text=True, timeout=60)
    lines = [line[6:] for line in done.stdout.splitlines() if line.startswith("data: ")]
    assert lines[-1] == "[DONE]", done
    asked = json.loads(words[words.index("-d") + 1])
    greedy = SamplingParams(temperature=0, max_tokens=asked["max_tokens"])
    told = "".join(json.loads(line)["choices"][0]["text"] for line in lines[:-1])
    assert told == session.generate(asked["prompt"], sampling=greedy).text


def test_too_large_a_body_is_refused(port: int) -> None:
    connection = connect(port, {"prompt": "a" * (1 << 21)})
    assert connection.getresponse().status == 413
    assert ask(port, path="/v1/models")[1]["data"] == [{"id": "target", "object": "model"}]

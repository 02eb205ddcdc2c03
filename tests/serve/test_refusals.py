"""Whatever is sent gets the right status, and an error as OpenAI's clients read it."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from anydraft import InputError
from anydraft.serve import ServerOptions
from anydraft.serve.hosts import known_hosts
from tests.serve.tiny import Running, Tiny

OK: dict[str, Any] = {"model": "tiny", "prompt": "x", "max_tokens": 1}
CHAT: dict[str, Any] = {"model": "tiny", "messages": [{"role": "user", "content": "x"}]}
BODIES: list[tuple[Any, str | None]] = [
    ("{", None),
    ("", None),
    ("[1]", None),
    ('"x"', None),
    ("\x00", None),
    ("[" * 5000, None),
    ({**OK, "prompt": None}, "prompt"),
    ({"prompt": "x"}, "model"),
    ({**OK, "promt": "x"}, "promt"),
    ({**OK, "stream_options": {"include_usag": True}}, "stream_options.include_usag"),
    ({**OK, "max_tokens": -1}, "max_tokens"),
    ({**OK, "max_tokens": "3"}, "max_tokens"),
    ({**OK, "max_tokens": True}, "max_tokens"),
    ({**OK, "temperature": 3}, "temperature"),
    ({**OK, "temperature": 1e-9}, None),  # neither greedy nor a temperature
    ({**OK, "top_p": 0}, "top_p"),
    ({**OK, "seed": 2**64}, "seed"),
    ({**OK, "n": 0}, "n"),
    ({**OK, "n": 17}, None),  # more than the server decodes at a time
    ({**OK, "logit_bias": {"x": 1}}, "logit_bias"),
    ({**OK, "logit_bias": {"1": "x"}}, "logit_bias"),
    ({**OK, "stop": [""]}, None),
    ({**OK, "bad_words": ["\ud800"]}, None),
    ({**OK, "allowed_token_ids": [257], "min_tokens": 1}, None),  # the end, which may not come
    ({**OK, "allowed_token_ids": [9], "stop_token_ids": [9], "min_tokens": 1}, None),
    ({**OK, "repetition_penalty": 1e-300}, "repetition_penalty"),
    ({**OK, "repetition_penalty": 1e300}, "repetition_penalty"),
    ({**OK, "prompt": []}, "prompt"),
    ({**OK, "prompt": [[]]}, "prompt"),
    ({**OK, "prompt": [1, 10**6]}, "prompt"),
    ({**OK, "prompt": [-1]}, "prompt"),
    ({**OK, "prompt": [1.5]}, "prompt"),
    ({**OK, "echo": True}, "echo"),
    ({**OK, "best_of": 2}, "best_of"),
    ({**OK, "suffix": "x"}, "suffix"),
    ({**OK, "stream_options": {}}, "stream_options"),
    ({**CHAT, "messages": []}, "messages"),
    ({**CHAT, "messages": [{"role": "user", "content": "x", "colour": 1}]}, "messages.0.colour"),
    ({**CHAT, "messages": [{"content": "x"}]}, "messages.0.role"),
    ({**CHAT, "messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "messages"),
    ({**CHAT, "messages": [{"role": "a", "content": "", "tool_calls": [{}]}]}, "messages"),
    *(
        (
            {**CHAT, "messages": [{"role": "a", "content": "", "tool_calls": calls}]},
            "messages.0.tool_calls",
        )
        for calls in (3, 0, "", {})
    ),
    ({**CHAT, "top_logprobs": 1}, "top_logprobs"),
    ({**CHAT, "tool_choice": "required"}, "tool_choice"),
    ({**CHAT, "parallel_tool_calls": False}, "parallel_tool_calls"),
    ({**CHAT, "response_format": {"type": "json_schema"}}, "response_format"),
    ({**CHAT, "max_tokens": 1, "max_completion_tokens": 2}, "max_tokens"),
    ({**CHAT, "chat_template_kwargs": {"tools": []}}, "chat_template_kwargs"),
    ({**CHAT, "store": True}, "store"),
    ({**CHAT, "modalities": ["audio"]}, "modalities"),
]


def post(running: Running, body: Any, **headers: str) -> httpx.Response:
    path = (
        "/v1/chat/completions"
        if isinstance(body, dict) and "messages" in body
        else "/v1/completions"
    )
    data = body if isinstance(body, str | bytes) else json.dumps(body)
    headers = {"content-type": "application/json", **headers}
    return httpx.post(running.address + path, content=data, headers=headers, timeout=20)


@pytest.mark.parametrize(("body", "param"), BODIES, ids=lambda value: str(value)[:60])
def test_bad_requests_are_told_why(running: Running, body: Any, param: str | None) -> None:
    told = post(running, body)
    assert told.status_code == 400, told.text
    error = told.json()["error"]
    assert error["type"] == "invalid_request_error" and error["message"]
    assert param is None or error["param"] == param


def test_what_is_refused_is_taken_without_the_fault(running: Running) -> None:
    """The requests above fail for what they name alone."""
    assert (
        post(running, OK).status_code == post(running, {**CHAT, "max_tokens": 1}).status_code == 200
    )
    assert running.is_clean()


def test_other_statuses(running: Running) -> None:
    assert post(running, OK, **{"content-type": "text/plain"}).status_code == 415
    assert httpx.get(running.address + "/v1/completions").status_code == 405
    told = httpx.get(running.address + "/nowhere")
    assert told.status_code == 404 and told.json()["error"]["type"] == "not_found_error"
    assert post(running, b'{"prompt": "' + b"x" * (3 << 20) + b'"}').status_code == 413
    cross = {"origin": "https://elsewhere", "access-control-request-method": "POST"}
    assert httpx.options(running.address + "/v1/completions", headers=cross).status_code == 405
    assert httpx.get(running.address + "/health").json() == {"status": "ok"}


def test_a_chat_without_a_template_and_tools_without_room_for_them() -> None:
    tool = {"type": "function", "function": {"name": "f"}}
    with Running(Tiny("{{ messages }}")) as plain:
        told = post(plain, {**CHAT, "tools": [tool]})
        assert told.status_code == 400 and told.json()["error"]["param"] == "tools"
    model = Tiny()
    model.template = None
    del Tiny.chat  # type: ignore[attr-defined]
    try:
        with Running(model) as without:
            told = post(without, CHAT)
            assert told.status_code == 400 and "chat template" in told.text
    finally:
        Tiny.chat = chat  # type: ignore[method-assign]


chat = Tiny.chat


@pytest.mark.parametrize("template", [None, "{{ messages }}"])
def test_the_page_is_told_of_chats_where_a_model_of_transformers_has_a_template(
    template: str | None,
) -> None:
    model: Any = Tiny()
    model.tokenizer = SimpleNamespace(chat_template=template)
    with Running(model) as running:
        [told] = httpx.get(running.address + "/v1/models").json()["data"]
        assert told["anydraft"]["chat"] == (template is not None)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"api_keys": "SECRET"}, "api_keys as a tuple of texts, got a str"),
        ({"api_keys": ("SECRET", "")}, "api_keys as texts that are not empty"),
        ({"api_keys": (b"SECRET",)}, "api_keys as texts"),
        ({"cors_origins": "http://x"}, "cors_origins as a tuple of texts, got a str"),
        ({"allowed_hosts": "x"}, "allowed_hosts as a tuple of texts, got a str"),
        ({"max_active": 1.5}, "max_active >= 1, got 1.5"),
        ({"max_queue": True}, "max_queue >= 0, got True"),
        ({"cache_bytes": "1"}, "cache_bytes >= 1, got '1'"),
        ({"read_timeout": float("nan")}, "a number as read_timeout, got nan"),
        ({"read_timeout": 0}, "read_timeout > 0, got 0"),
        ({"tool_format": "x"}, "tool_format out of auto, hermes, llama3, mistral, none, got 'x'"),
        ({"name": ""}, "name as a text that is not empty, got ''"),
        ({"log_prompts": "no"}, "log_prompts true or false, got 'no'"),
    ],
    ids=str,
)
def test_options_that_cannot_be(options: Any, told: str) -> None:
    """A text as the keys would make each of its letters a key. No key is in an error."""
    with pytest.raises(InputError) as raised:
        ServerOptions(**options)
    assert told in str(raised.value) and "SECRET" not in str(raised.value)


@pytest.fixture(scope="module")
def locked() -> Iterator[Running]:
    with Running(Tiny(), api_keys=("köy", "other"), cors_origins=("https://ours",)) as server:
        yield server


def test_keys(locked: Running) -> None:
    def status(header: bytes | None) -> int:
        with socket.create_connection(("127.0.0.1", locked.port)) as sock:
            line = b"" if header is None else b"authorization: " + header + b"\r\n"
            sock.sendall(b"GET /v1/models HTTP/1.1\r\nhost: localhost\r\n" + line + b"\r\n")
            return int(sock.recv(1 << 16).split()[1])

    wrong = (
        None, b"", b"Bearer", b"Bearer ", b"Bearer oth", b"Bearer otherx", b"Basic other",
        b"Bearer \xff",
    )  # fmt: skip
    assert {status(header) for header in wrong} == {401}
    assert (
        status(b"Bearer other") == status(b"bearer  other") == status("Bearer köy".encode()) == 200
    )
    assert post(locked, OK).status_code == 401
    assert post(locked, "{").status_code == 401  # before anything is read
    assert post(locked, OK, authorization="Bearer other").status_code == 200


def test_cors_where_it_is_wanted(locked: Running) -> None:
    def allowed(origin: str) -> str | None:
        headers = {"origin": origin, "access-control-request-method": "POST"}
        answer = httpx.options(locked.address + "/v1/completions", headers=headers)
        return answer.headers.get("access-control-allow-origin")

    assert allowed("https://ours") == "https://ours"
    assert allowed("https://elsewhere") is None


def test_a_server_of_this_machine_answers_to_its_own_names_alone() -> None:
    """A page whose name leads here is of our own origin to its browser."""

    def statuses(running: Running, names: list[str]) -> list[int]:
        url = running.address + "/v1/models"
        return [httpx.get(url, headers={"host": name}).status_code for name in names]

    own = ["localhost", "localhost:1", "LOCALHOST.", "127.0.0.1:8000", "[::1]:8000", "[::1]"]
    others = ["evil.example", "evil.example:8000", "localhost.evil.example", "127.0.0.1.evil", ""]
    with Running(Tiny()) as running:
        assert statuses(running, own) == [200] * len(own)
        assert statuses(running, others) == [403] * len(others)
        told = post(running, OK, host="evil.example", origin="http://evil.example")
        assert told.status_code == 403 and told.json()["error"]["code"] == "host_not_allowed"
        assert httpx.get(running.address, headers={"host": "evil.example"}).status_code == 403
    with Running(Tiny(), allowed_hosts=("Ours.example",)) as running:
        assert statuses(running, ["ours.example:443", "evil.example"]) == [200, 403]


def test_names_are_free_where_the_address_is() -> None:
    assert known_hosts("0.0.0.0", ()) is None
    named = known_hosts("0.0.0.0", ("ours",))
    assert named is not None and "ours" in named
    for host in ("127.0.0.1", "127.0.0.2", "::1", "localhost"):
        names = known_hosts(host, ())
        assert names is not None and host in names

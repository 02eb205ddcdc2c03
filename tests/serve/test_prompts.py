"""Prompts that would harm others: ids that the model has no rows for, templates of a client's."""

from __future__ import annotations

import inspect
import threading
import time
from typing import Any

import httpx
import pytest

from anydraft import InputError, SamplingParams, SpeculativeSession
from anydraft.chat import ChatTemplate
from anydraft.prompts import prompt_ids
from tests.serve.tiny import Running, Tiny, wait_for

LONG = {"model": "tiny", "prompt": "x", "max_tokens": 200, "ignore_eos": True, "temperature": 0}
LAST = "<|python_tag|>"  # the vocabulary's last id


class Narrow(Tiny):
    """Its vocabulary has one id more than it has rows, as Gemma 3's has."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.input_size = self.vocabulary.size - 1

    def __call__(self, feeds: Any) -> Any:
        if any(token >= self.input_size for feed in feeds for token in feed.tokens):
            raise InputError("no such row")
        return super().__call__(feeds)[:, : self.input_size]


def test_a_prompt_that_the_model_has_no_row_for_ends_nobody_elses_request() -> None:
    with Running(Narrow(slow=0.005), drafter=None) as running:
        url = running.address + "/v1/"
        others: list[httpx.Response] = []

        def other() -> None:
            others.append(httpx.post(url + "completions", json=LONG, timeout=30))

        threads = [threading.Thread(target=other) for _ in range(2)]
        for thread in threads:
            thread.start()
        assert wait_for(lambda: running.serving.streams.active == 2)
        last = running.session.target.vocabulary.specials[LAST]
        for prompt in (LAST, [last], ["x", LAST], [[1], [last]]):
            told = httpx.post(url + "completions", json={**LONG, "prompt": prompt})
            assert told.status_code == 400 and told.json()["error"]["param"] == "prompt", told.text
        chat = {"model": "tiny", "messages": [{"role": "user", "content": LAST}]}
        told = httpx.post(url + "chat/completions", json=chat)
        assert told.status_code == 400 and f"[0, {last})" in told.text
        for thread in threads:
            thread.join()
        assert [answer.status_code for answer in others] == [200, 200]


def test_models_say_which_ids_they_can_be_fed() -> None:
    model = Narrow()
    with pytest.raises(InputError, match="in \\[0, 260\\), got 260"):
        prompt_ids(model, LAST, specials=True)
    assert prompt_ids(Tiny(), LAST, specials=True) == [260]


def chat(running: Running, **arguments: Any) -> httpx.Response:
    body = {
        "model": "tiny",
        "messages": [{"role": "user", "content": "hi"}],
        "max_tokens": 1,
        "chat_template_kwargs": arguments,
    }
    return httpx.post(running.address + "/v1/chat/completions", json=body, timeout=20)


def test_arguments_that_are_not_the_templates_are_refused(running: Running) -> None:
    """Those of all that stands between a request and its template."""
    base = pytest.importorskip("transformers").PreTrainedTokenizerBase
    functions = (base.apply_chat_template, prompt_ids, ChatTemplate.ids, ChatTemplate.render)
    names = {name for one in functions for name in inspect.signature(one).parameters}
    switches = {"add_generation_prompt", "continue_final_message"}
    for name in names - switches - {"kwargs", "options", "arguments"}:
        told = chat(running, **{name: "x"})
        assert told.status_code == 400 and f"chat_template_kwargs.{name} is" in told.text, name
    for name in switches:
        told = chat(running, **{name: "x"})
        assert told.status_code == 400 and f"chat_template_kwargs.{name} must" in told.text
        assert chat(running, **{name: False}).status_code == 200
    assert chat(running, enable_thinking=False, kwargs=1, template_name="x").status_code == 200


def test_a_prompt_is_read_within_the_requests_time() -> None:
    """One that waits for another's in the thread that reads them."""
    model = Tiny()
    read = model.chat

    def slow(messages: Any, **arguments: Any) -> list[int]:
        time.sleep(1)
        return read(messages, **arguments)

    model.chat = slow  # type: ignore[method-assign]
    with Running(model, request_timeout=0.3) as running:
        started = time.monotonic()
        told = chat(running)
        assert told.status_code == 504 and told.json()["error"]["code"] == "timeout"
        assert time.monotonic() - started < 0.9
        assert running.is_clean()


def test_what_fails_before_it_is_decoded_is_counted_too() -> None:
    model = Tiny()
    model.chat = lambda *_, **__: 1 / 0  # type: ignore[assignment, method-assign, return-value]
    with Running(model) as running:
        assert chat(running).status_code == 500
        counted = httpx.get(running.address + "/metrics").text
        assert 'anydraft_responses_total{status="500"} 1.0' in counted


def test_a_drafter_that_has_no_row_for_an_id_of_the_target_fails_nobody() -> None:
    """Its drafts may be worse: the text is the target's own."""
    greedy = SamplingParams(temperature=0, max_tokens=20)
    prompt = f"x{LAST}y"
    plain = SpeculativeSession(Tiny()).generate(prompt, specials=True, sampling=greedy)
    session = SpeculativeSession(Tiny(), Narrow())
    made = session.generate(prompt, specials=True, sampling=greedy)
    assert made.tokens == plain.tokens and made.stats.drafted > 0

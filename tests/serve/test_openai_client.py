"""The `openai` package drives the server; the texts are those of `session.generate`."""

from __future__ import annotations

import json
from typing import Any

import openai
import pytest

from anydraft import SamplingParams, SpeculativeSession
from tests.serve.tiny import Running, Tiny

PROMPTS = ["One, two,", "The end of the abcabcabcabc", "x"]
WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    },
}


@pytest.fixture(scope="module")
def alone() -> SpeculativeSession:
    return SpeculativeSession(Tiny(), "lookup")


def user(text: str) -> Any:
    return [{"role": "user", "content": text}]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("given", "params"),
    [
        ({"temperature": 0}, SamplingParams(temperature=0, max_tokens=24)),
        (
            {"seed": 7, "n": 3, "top_p": 0.9, "presence_penalty": 0.5, "logit_bias": {"65": 2}},
            SamplingParams(
                top_p=0.9, seed=7, n=3, max_tokens=24, presence_penalty=0.5, logit_bias={65: 2}
            ),
        ),
        (
            {"seed": -1, "stop": ["a", "E"], "extra_body": {"top_k": 20, "min_p": 0.01}},
            SamplingParams(top_k=20, min_p=0.01, seed=2**64 - 1, max_tokens=24, stop=["a", "E"]),
        ),
    ],
)
def test_completions_are_what_generate_gives(
    client: Any, alone: SpeculativeSession, stream: bool, given: Any, params: SamplingParams
) -> None:
    made = alone.generate(PROMPTS, sampling=params)
    expected = [one for group in made for one in (group if params.n > 1 else [group])]
    told = client.completions.create(
        model="tiny", prompt=PROMPTS, max_tokens=24, stream=stream,
        **({"stream_options": {"include_usage": True}} if stream else {}), **given,
    )  # fmt: skip
    texts, reasons, usage = gathered(told, len(expected)) if stream else whole(told)
    assert texts == [one.text for one in expected]
    assert reasons == [one.finish_reason for one in expected]
    assert usage.completion_tokens == sum(len(one.tokens) for one in expected)
    assert usage.prompt_tokens == sum(len(prompt) for prompt in PROMPTS)


def whole(told: Any) -> Any:
    assert [choice.index for choice in told.choices] == list(range(len(told.choices)))
    reasons = [choice.finish_reason for choice in told.choices]
    return [choice.text for choice in told.choices], reasons, told.usage


def gathered(told: Any, count: int) -> Any:
    texts, reasons, usage = [""] * count, [None] * count, None
    for chunk in told:
        for choice in chunk.choices:
            assert reasons[choice.index] is None  # nothing behind the end
            texts[choice.index] += choice.text
            reasons[choice.index] = choice.finish_reason
        usage = chunk.usage
    return texts, reasons, usage


def test_token_ids_as_a_prompt(client: Any, alone: SpeculativeSession) -> None:
    ids = [10, 20, 30]
    told = client.completions.create(model="tiny", prompt=ids, temperature=0)
    made = alone.generate(ids, sampling=SamplingParams(temperature=0, max_tokens=16))
    assert told.choices[0].text == made.text  # 16: OpenAI's own default


@pytest.mark.parametrize("stream", [False, True])
def test_a_chat(client: Any, alone: SpeculativeSession, stream: bool) -> None:
    messages = [{"role": "developer", "content": "be brief"}, *user("SAY(Grüße, 世界! 🎉)YAS")]
    told = client.chat.completions.create(
        model="tiny", messages=messages, temperature=0, stream=stream
    )
    if stream:
        chunks = list(told)
        deltas = [chunk.choices[0].delta for chunk in chunks]
        assert deltas[0].role == "assistant"
        text = "".join(delta.content or "" for delta in deltas)
        reason = chunks[-1].choices[0].finish_reason
        assert {chunk.object for chunk in chunks} == {"chat.completion.chunk"}
    else:
        text, reason = told.choices[0].message.content, told.choices[0].finish_reason
        as_system = [{"role": "system", "content": "be brief"}, *user("SAY(Grüße, 世界! 🎉)YAS")]
        made = alone.generate(as_system, sampling=SamplingParams(temperature=0))
        assert (made.text, len(made.tokens)) == (text, told.usage.completion_tokens)
    assert (text, reason) == ("Grüße, 世界! 🎉", "stop")


@pytest.mark.parametrize("stream", [False, True])
def test_logprobs(client: Any, alone: SpeculativeSession, stream: bool) -> None:
    made = alone.generate(
        user("hi"), sampling=SamplingParams(temperature=0.8, seed=3, max_tokens=9, logprobs=3)
    )
    asked: Any = {"temperature": 0.8, "seed": 3, "max_completion_tokens": 9, "stream": stream}
    told = client.chat.completions.create(
        model="tiny", messages=user("hi"), logprobs=True, top_logprobs=3, **asked
    )
    if stream:
        parts = [chunk.choices[0].logprobs for chunk in told]
        content = [one for part in parts if part for one in part.content]
    else:
        content = told.choices[0].logprobs.content
    assert [one.logprob for one in content] == [one.logprob for one in made.logprobs]
    tops = [[entry.logprob for entry in one.top_logprobs] for one in content]
    assert tops == [list(one.top.values()) for one in made.logprobs]
    assert b"".join(bytes(one.bytes) for one in content) == alone.target.vocabulary.decode(
        made.tokens
    )
    if not stream:
        again = client.completions.create(model="tiny", prompt="a", logprobs=2, temperature=0)
        offsets = again.choices[0].logprobs.text_offset
        assert offsets[0] == 0 and len(offsets) == len(again.choices[0].logprobs.tokens) == 16


CALLS = 'I will.<tool_call>\n{"name": "weather", "arguments": {"city": "Köln"}}\n</tool_call>'


@pytest.mark.parametrize("stream", [False, True])
def test_tools(client: Any, stream: bool) -> None:
    told = client.chat.completions.create(
        model="tiny", messages=user(f"SAY({CALLS})YAS"), tools=[WEATHER], stream=stream,
        temperature=0,
    )  # fmt: skip
    if stream:
        chunks = list(told)
        text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
        calls = [call for chunk in chunks for call in chunk.choices[0].delta.tool_calls or []]
        assert [call.index for call in calls] == [0]
        reason = chunks[-1].choices[0].finish_reason
    else:
        message = told.choices[0].message
        text, calls, reason = message.content, message.tool_calls, told.choices[0].finish_reason
    assert (text, reason) == ("I will.", "tool_calls")
    [call] = calls
    assert call.function.name == "weather" and call.id.startswith("call_")
    assert json.loads(call.function.arguments) == {"city": "Köln"}


def test_an_answer_of_a_tool_goes_back(client: Any, alone: SpeculativeSession) -> None:
    """The template sees arguments as an object: its {{ arguments.city }} is in the prompt."""
    call = {"id": "call_1", "type": "function",
            "function": {"name": "weather", "arguments": '{"city": "Rom"}'}}  # fmt: skip
    messages = [*user("?"), {"role": "assistant", "content": None, "tool_calls": [call]},
                {"role": "tool", "tool_call_id": "call_1", "content": "12"}]  # fmt: skip
    told = client.chat.completions.create(model="tiny", messages=messages, max_tokens=1)
    named = "<|im_start|>user\n?<|im_end|><|im_start|>assistant\nRom<|im_end|>"
    named += "<|im_start|>tool\n12<|im_end|><|im_start|>assistant\n"
    vocabulary = alone.target.vocabulary
    assert told.usage.prompt_tokens == len(vocabulary.encode_as_owner(named, specials=True))


def test_tool_choice_none_leaves_the_text_alone(client: Any) -> None:
    told = client.chat.completions.create(
        model="tiny", messages=user(f"SAY({CALLS})YAS"), tools=[WEATHER], tool_choice="none"
    )
    assert told.choices[0].message.content == CALLS


def test_origins_tell_what_the_session_tells(client: Any, alone: SpeculativeSession) -> None:
    prompt = "abcabcabc SAY(abcabcabcabcabcabc)YAS"
    alone.generate(prompt, sampling=SamplingParams(temperature=0))
    told = client.completions.create(
        model="tiny", prompt=prompt, temperature=0, max_tokens=256, extra_body={"origins": True}
    )
    events = alone.last.history if alone.last else []
    tokens = told.choices[0].model_extra["anydraft"]["tokens"]
    assert [origin for _, origin, _ in tokens] == [event.origin for event in events]
    assert any(origin == "accepted" and source == "lookup" for _, origin, source in tokens)


def test_models_and_errors(running: Running, client: Any) -> None:
    [model] = client.models.list().data
    assert (model.id, model.model_extra["max_model_len"]) == ("tiny", 4096)
    assert client.models.retrieve("tiny").id == "tiny"
    with pytest.raises(openai.NotFoundError, match="expected the model tiny"):
        client.completions.create(model="gpt", prompt="x")
    with pytest.raises(openai.BadRequestError, match="response_format") as told:
        client.chat.completions.create(
            model="tiny", messages=user("x"), response_format={"type": "json_object"}
        )
    assert told.value.param == "response_format"
    with pytest.raises(openai.BadRequestError, match="context is 4096"):
        client.completions.create(model="tiny", prompt="x" * 4000, max_tokens=97)
    assert running.is_clean()

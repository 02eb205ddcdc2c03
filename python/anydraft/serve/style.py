"""Answers of the two endpoints: whole, and as chunks of a stream."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from anydraft.page import shown_stats, shown_tokens
from anydraft.request import Event, GenerationStats
from anydraft.serve import logprobs
from anydraft.serve.logprobs import TokenTexts
from anydraft.serve.schema import ChatRequest, Request
from anydraft.serve.tools import ToolCall, ToolSplitter

_dumps = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
_REASONS = {"stop": "stop", "length": "length", "context": "length"}
_MARKERS = ("<tool_call>", "</tool_call>", "[TOOL_CALLS]", "[CALL_ID]", "[ARGS]", "<|python_tag|>")


@dataclass
class Choice:
    """One text of an answer on its way.

    Attributes:
        index: of the answer's choices.
        prompt: ids.
        tools: where its calls of tools are looked for.
        events: all of them, where the answer is whole.
        text: what was shown, likewise.
        length: characters that were shown.
    """

    index: int
    prompt: list[int]
    tools: ToolSplitter | None = None
    events: list[Event] = field(default_factory=list)
    text: list[str] = field(default_factory=list)
    length: int = 0
    calls: list[ToolCall] = field(default_factory=list)
    reason: str = "stop"
    tokens: int = 0
    stats: GenerationStats | None = None

    def shown(self, events: Sequence[Event], texts: TokenTexts) -> str:
        """The text that can be shown now."""
        if self.tools is None:
            return "".join([event.text for event in events])
        spelt = ""
        for event in events:
            special = texts.special(event.tokens[0])
            spelt += special if special in _MARKERS else event.text
        return self.tools.feed(spelt)

    def end(self, reason: str) -> str:
        """What is left to show."""
        self.reason = _REASONS.get(reason, reason)
        if self.tools is None:
            return ""
        rest, self.calls = self.tools.end()
        if self.calls and self.reason == "stop":
            self.reason = "tool_calls"
        return rest


class Style:
    """How an endpoint words its answers; made for each request."""

    def __init__(self, asked: Request, model: str, texts: TokenTexts) -> None:
        self.chat = isinstance(asked, ChatRequest)
        self.texts = texts
        self._origins = asked.origins
        self._logprobs = asked.logprobs is not None and asked.logprobs is not False  # type: ignore[attr-defined]
        self._usage = bool(asked.stream_options and asked.stream_options.include_usage)
        self.id = f"{'chatcmpl' if self.chat else 'cmpl'}-{secrets.token_hex(12)}"
        self._head = {
            "id": self.id,
            "object": "chat.completion" if self.chat else "text_completion",
            "created": int(time.time()),
            "model": model,
        }
        chunk = dict(self._head)
        if self.chat:
            chunk["object"] = "chat.completion.chunk"
        self._before = f"data: {_dumps(chunk)[:-1]},"
        self._after = ',"usage":null}\n\n' if self._usage else "}\n\n"

    # ---- Chunks ----------------------------------------------------------------------------------
    def first(self, choice: Choice) -> bytes:
        """A chat's role; nothing for a completion."""
        if not self.chat:
            return b""
        return self._chunk(choice, '{"role":"assistant","content":""}', "null", "null")

    def chunk(self, choice: Choice, text: str, events: Sequence[Event]) -> bytes:
        """Some tokens; b"" where there is nothing to tell of them."""
        if not (text or self._logprobs or self._origins):
            return b""
        told = _dumps(self._logprobs_of(choice, events)) if self._logprobs else "null"
        choice.length += len(text)
        delta = _dumps(text)
        delta = f'{{"content":{delta}}}' if self.chat else delta
        return self._chunk(choice, delta, told, "null", self._told_origins(events))

    def last(self, choice: Choice, rest: str) -> bytes:
        """What ended it, with the calls of tools."""
        delta: Any = rest
        if self.chat:
            delta = {"content": rest} if rest else {}
            if choice.calls:
                calls = enumerate(choice.calls)
                delta["tool_calls"] = [{"index": i, **call.as_json()} for i, call in calls]
        more = ""
        if self._origins and choice.stats:
            more = f',"anydraft":{_dumps({"stats": shown_stats(choice.stats)})}'
        reason = _dumps(choice.reason)
        return self._chunk(choice, _dumps(delta), "null", reason, more)

    def finish(self, choices: Sequence[Choice]) -> bytes:
        """The end of a stream."""
        done = b"data: [DONE]\n\n"
        if not self._usage:
            return done
        usage = _dumps(_usage(choices))
        return f'{self._before}"choices":[],"usage":{usage}}}\n\n'.encode() + done

    def _chunk(self, choice: Choice, delta: str, told: str, reason: str, more: str = "") -> bytes:
        name = "delta" if self.chat else "text"
        return (
            f'{self._before}"choices":[{{"index":{choice.index},"{name}":{delta},'
            f'"logprobs":{told},"finish_reason":{reason}{more}}}]{self._after}'
        ).encode("utf-8", "replace")

    def _told_origins(self, events: Sequence[Event]) -> str:
        if not self._origins:
            return ""
        return f',"anydraft":{_dumps({"tokens": shown_tokens(events)})}'

    def _logprobs_of(self, choice: Choice, events: Sequence[Event]) -> Any:
        if self.chat:
            return logprobs.for_chat(events, self.texts)
        return logprobs.for_completion(events, self.texts, choice.length)

    # ---- Whole answers ---------------------------------------------------------------------------
    def whole(self, choices: Sequence[Choice]) -> bytes:
        told = [self._whole_choice(choice) for choice in choices]
        answer = {**self._head, "choices": told, "usage": _usage(choices)}
        return _dumps(answer).encode("utf-8", "replace")

    def _whole_choice(self, choice: Choice) -> dict[str, Any]:
        text = "".join(choice.text)
        made: dict[str, Any] = {"index": choice.index}
        if self.chat:
            message: dict[str, Any] = {"role": "assistant", "content": text, "refusal": None}
            if choice.calls:
                message["content"] = text or None
                message["tool_calls"] = [call.as_json() for call in choice.calls]
            made["message"] = message
        else:
            made["text"] = text
        made["logprobs"] = self._logprobs_of(choice, choice.events) if self._logprobs else None
        made["finish_reason"] = choice.reason
        if self._origins and choice.stats:
            tokens, stats = shown_tokens(choice.events), shown_stats(choice.stats)
            made["anydraft"] = {"tokens": tokens, "stats": stats}
        return made

    @property
    def keeps_events(self) -> bool:
        return self._logprobs or self._origins


def _usage(choices: Sequence[Choice]) -> dict[str, int]:
    prompts = {id(choice.prompt): len(choice.prompt) for choice in choices}  # n texts share one
    prompt, new = sum(prompts.values()), sum(choice.tokens for choice in choices)
    return {"prompt_tokens": prompt, "completion_tokens": new, "total_tokens": prompt + new}

"""Prompts of requests as the target's ids, and how long their texts may be."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from anydraft.chat import TOKENISING
from anydraft.errors import Error, InputError, UnsupportedTokenizerError
from anydraft.prompts import prompt_ids
from anydraft.serve.errors import ApiError
from anydraft.serve.messages import messages_of
from anydraft.serve.options import ToolFormat
from anydraft.serve.schema import ChatRequest, CompletionRequest, Json
from anydraft.serve.tools import format_of

_COMPLETION_TOKENS = 16  # OpenAI's default
# Not the template's own: names of what renders it, and of the function of transformers that does.
_RESERVED = {
    "self", "model", "prompt", "specials", "vocabulary", "messages", "template", "tools",
    "documents", "conversation", *TOKENISING,
}  # fmt: skip
_SWITCHES = ("add_generation_prompt", "continue_final_message")


class PromptReader:
    """Tokenises in a thread of its own: a template and a long text take milliseconds.

    Attributes:
        tool_format: how calls of tools are spelt; "none": the template knows of no tools.
        takes_chats: whether there is a template.
    """

    def __init__(self, target: Any, tool_format: ToolFormat, default_max_tokens: int) -> None:
        if hasattr(target, "decoder_prompt"):
            raise InputError("[serve] expected a decoder-only target, got an encoder-decoder")
        self._target = target
        self._context: int | None = getattr(target, "context_length", None)
        self._default = default_max_tokens
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="anydraft-prompts")
        self.takes_chats = _takes_chats(target)
        self.tool_format = format_of(_template(target)) if tool_format == "auto" else tool_format

    def close(self) -> None:
        self._thread.shutdown(wait=False)

    async def completion(self, asked: CompletionRequest) -> tuple[list[list[int]], int]:
        """(ids of each prompt, most new tokens).

        Raises:
            ApiError: 400, a prompt that cannot be.
        """
        given: Any = asked.prompt
        several = isinstance(given, list) and bool(given) and not isinstance(given[0], int)
        prompts = await self._ids(
            lambda: [self._ids_of_text(one) for one in (given if several else [given])]
        )
        wanted = _COMPLETION_TOKENS if asked.max_tokens is None else asked.max_tokens
        return prompts, self._new_tokens(prompts, wanted)

    async def chat(self, asked: ChatRequest) -> tuple[list[int], int]:
        """As `completion`."""
        messages = messages_of(asked.messages)
        template = dict(asked.chat_template_kwargs or {})
        _check_template(template)
        if self.uses_tools(asked):
            if self.tool_format == "none":
                raise ApiError(400, "the model's chat template takes no tools", param="tools")
            assert asked.tools is not None
            template["tools"] = [tool.model_dump(exclude_none=True) for tool in asked.tools]
        [ids] = await self._ids(lambda: [prompt_ids(self._target, messages, **template)])
        told = (asked.max_completion_tokens, asked.max_tokens)
        if None not in told and told[0] != told[1]:
            raise ApiError(
                400, "max_tokens and max_completion_tokens differ: give one", param="max_tokens"
            )
        wanted = next((most for most in told if most is not None), None)
        return ids, self._new_tokens([ids], wanted)

    @staticmethod
    def uses_tools(asked: ChatRequest) -> bool:
        return bool(asked.tools) and asked.tool_choice != "none"

    def _ids_of_text(self, prompt: Any) -> list[int]:
        try:  # what a template made comes as text: its specials are meant
            ids = prompt_ids(self._target, prompt, specials=True)
        except UnsupportedTokenizerError:  # an encoder of the caller's, which knows of none
            ids = prompt_ids(self._target, prompt, specials=False)
        if not ids:
            raise InputError("prompt: expected at least one token, got none")
        return ids

    async def _ids(self, make: Callable[[], list[list[int]]]) -> list[list[int]]:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, make)
        except (Error, ValueError) as error:
            raise ApiError(400, str(error), param="prompt", code="invalid_value") from None

    def _new_tokens(self, prompts: list[list[int]], wanted: int | None) -> int:
        longest = max(map(len, prompts), default=0)
        if self._context is None:
            return self._default if wanted is None else wanted
        left = self._context - longest
        if left < 1 or (wanted or 0) > left:
            raise ApiError(
                400,
                f"the model's context is {self._context} tokens: the prompt has {longest}, and "
                f"{self._default if wanted is None else wanted} more are asked for",
                param="messages" if wanted is None else "max_tokens",
                code="context_length_exceeded",
            )
        return min(self._default, left) if wanted is None else wanted


def _check_template(arguments: Json) -> None:
    """Raises:
    ApiError: 400, what would go to something else than the template."""
    for name, value in arguments.items():
        wrong = "is not supported" if name in _RESERVED else None
        if name in _SWITCHES and not isinstance(value, bool):
            wrong = "must be true or false"
        if wrong:
            told = f"chat_template_kwargs.{name} {wrong}"
            raise ApiError(400, told, param="chat_template_kwargs")


def _takes_chats(target: Any) -> bool:
    """A target that has `chat` but neither attribute takes them in its own way."""
    if not hasattr(target, "chat"):
        return False
    if hasattr(target, "tokenizer"):  # of transformers
        return bool(getattr(target.tokenizer, "chat_template", None))
    return getattr(target, "template", "") is not None


def _template(target: Any) -> str:
    """The sources of a model's chat templates."""
    sources = getattr(getattr(target, "template", None), "sources", None)
    if sources is None:  # of transformers
        sources = getattr(getattr(target, "tokenizer", None), "chat_template", None) or {}
    return sources if isinstance(sources, str) else "".join(map(str, sources.values()))

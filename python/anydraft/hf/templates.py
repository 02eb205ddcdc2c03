"""Chat templates of transformers' tokenizers, within the bounds of our own sandbox."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

from anydraft.chat import TOKENISING, ChatTemplate
from anydraft.errors import InputError


def template_ids(
    tokenizer: Any, messages: Sequence[Mapping[str, Any]], arguments: Mapping[str, Any]
) -> list[int]:
    """The ids of a chat. The template is a program out of a model's files, and its arguments may be
    a client's: so it is rendered as those of native models are, with bounds on its loops and texts,
    which transformers' apply_chat_template does not have.

    Raises:
        ImportError: no jinja2.
        InputError: no template, or messages or arguments that it does not take.
    """
    given = dict(arguments)
    sources = given.pop("chat_template", None) or getattr(tokenizer, "chat_template", None)
    if tokenizer is None or not sources:
        raise InputError(
            "[HfModel.chat] expected a tokenizer with a chat template, got none: give text"
        )
    if taken := [name for name in TOKENISING if name in given]:
        raise InputError(
            f"[HfModel.chat] expected arguments of the template, got {taken[0]}, which is of "
            "apply_chat_template"
        )
    given.setdefault("add_generation_prompt", not given.get("continue_final_message", False))
    if given.get("tools") is not None:
        given["tools"] = [_schema(tool) for tool in given["tools"]]
    text = _template(tokenizer, sources).render(messages, **given)
    # Specials of the text are recognised, and none are added to them.
    return [int(token) for token in tokenizer(text, add_special_tokens=False)["input_ids"]]


def _template(tokenizer: Any, sources: Any) -> ChatTemplate:
    own = tokenizer.chat_template
    if isinstance(own, Mapping) and isinstance(sources, str):  # one of them by its name
        sources = own.get(sources, sources)
    named = {"default": sources} if isinstance(sources, str) else sources
    specials = tokenizer.special_tokens_map.items()
    texts = ((role, str(text)) for role, text in specials if not isinstance(text, list))
    return _compiled(tuple(named.items()), tuple(texts))


@functools.lru_cache(maxsize=8)
def _compiled(
    sources: tuple[tuple[str, str], ...], specials: tuple[tuple[str, str], ...]
) -> ChatTemplate:
    return ChatTemplate(dict(sources), dict(specials))


def _schema(tool: Any) -> Any:
    """A function of Python as the JSON schema that templates show."""
    if not callable(tool):
        return tool
    from transformers.utils import get_json_schema

    return get_json_schema(tool)

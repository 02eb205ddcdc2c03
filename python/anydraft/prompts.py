"""Prompts as the caller has them: text, ids, chat messages; one, or a list of them."""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from anydraft.errors import InputError, UnsupportedTokenizerError
from anydraft.vocabulary import Vocabulary

Message: TypeAlias = Mapping[str, Any]
Prompt: TypeAlias = str | Sequence[int] | Sequence[Message]


def is_list(prompt: Any) -> bool:
    """Whether this is a list of prompts rather than a prompt.

    Raises:
        InputError: neither.
    """
    if isinstance(prompt, str):
        return False
    if isinstance(prompt, bytes | Mapping) or not hasattr(prompt, "__getitem__"):
        hint = ": a chat is a list of messages" if isinstance(prompt, Mapping) else ""
        raise InputError(
            "[generate] expected text, ids, messages or a list of these, got "
            f"{type(prompt).__name__}{hint}"
        )
    # A tensor of ids [prompts, tokens] is a list too, as tokenizers return it.
    return len(prompt) > 0 and (
        isinstance(prompt[0], str | Sequence) or getattr(prompt[0], "ndim", 0) > 0
    )


def one_for_each(option: Any, count: int, name: str) -> list[Any]:
    """An option of `count` prompts: a list with one for each, or one for all."""
    each = list(option) if isinstance(option, Sequence) else [option] * count
    if len(each) != count:
        raise InputError(f"[generate] expected {count} {name}, one a prompt, got {len(each)}")
    return each


def prompt_ids(model: Any, prompt: Any) -> list[int]:
    """The target's ids of one prompt.

    Raises:
        InputError: a prompt that is none.
    """
    if isinstance(prompt, str):
        if not prompt:
            raise InputError("[generate] expected a prompt of at least one token, got an empty one")
        return [*model.vocabulary.prefix, *_as_owner(model.vocabulary, prompt)]
    is_list(prompt)
    if len(prompt) and isinstance(prompt[0], Mapping):
        if not hasattr(model, "chat"):
            raise InputError("[generate] expected text or ids: this target has no chat template")
        return list(model.chat(prompt))
    try:
        return [operator.index(token) for token in prompt]
    except TypeError:
        raise InputError(f"[generate] expected ids, text or messages, got {prompt!r}") from None


def _as_owner(vocabulary: Vocabulary, text: str) -> list[int]:
    """What the model was trained on: its owner's normalisation and prefix space, no specials."""
    try:
        return vocabulary.encode_as_owner(text, specials=False)
    except UnsupportedTokenizerError:
        return vocabulary.encode(text)

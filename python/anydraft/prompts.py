"""Prompts as the caller has them: text, ids, chat messages; one, or a list of them."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeAlias

from anydraft.checks import token_ids
from anydraft.errors import InputError, UnsupportedTokenizerError
from anydraft.sampling import SamplingParams, check_sampling
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


def requests_of(
    prompts: Any, sampling: Any, default: SamplingParams, max_tokens: Any, processors: Any
) -> Iterator[tuple[Any, dict[str, Any], range]]:
    """Of each prompt: itself, options of `stream` for one text, the random streams of its texts."""
    count = len(prompts)
    own = isinstance(sampling, Sequence)  # these need no streams to tell draws apart
    each = zip(
        prompts,
        one_for_each(sampling, count, "sampling"),
        one_for_each(max_tokens, count, "max_tokens"),
        one_for_each(processors, count, "logits_processor"),
        strict=True,
    )
    for i, (prompt, params, most, processor) in enumerate(each):
        check_sampling(params, "generate")
        params = params or default
        texts, first = params.n, 0 if own else i * params.n
        params = params if texts == 1 else params.replace(n=1)
        given = {"sampling": params, "max_tokens": most, "logits_processor": processor}
        yield prompt, given, range(first, first + texts)


def prompt_ids(
    model: Any, prompt: Any, *, specials: bool | None = None, **template: Any
) -> list[int]:
    """The target's ids of one prompt.

    Args:
        specials: of text: that of a special token becomes the token (True), or stays text (False).
            None: it stays text, with a warning where it looks as if a template had made it.
        template: arguments of the chat template of messages (tools=, continue_final_message=, …).

    Raises:
        InputError: a prompt that is none.
    """
    if template and hasattr(model, "decoder_prompt"):
        raise InputError("[generate] expected no template: an encoder reads this target's prompt")
    if hasattr(model, "decoder_prompt"):  # the text starts elsewhere
        return list(model.decoder_prompt(prompt))
    text = isinstance(prompt, str)
    if not text and not is_list(prompt) and len(prompt) and isinstance(prompt[0], Mapping):
        if not hasattr(model, "chat"):
            raise InputError("[generate] expected text or ids: this target has no chat template")
        return _known(model, list(model.chat(prompt, **template)))
    if template:
        raise InputError(f"[generate] expected chat messages with template, got {prompt!r}")
    if text:
        return _known(model, _text_ids(model.vocabulary, prompt, specials))
    return _known(model, list(token_ids(prompt, "generate", "a prompt")))


def _known(model: Any, ids: list[int]) -> list[int]:
    """The ids, if the model can be fed all of them: a tokenizer may name more than it has rows for
    (Gemma 3's <image_soft_token>), and a call that fails would fail for all requests it serves."""
    size = model.vocabulary.size
    size = min(size, getattr(model, "input_size", size))
    if max(ids, default=0) >= size:
        raise InputError(f"[generate] expected prompt tokens in [0, {size}), got {max(ids)}")
    return ids


def _text_ids(vocabulary: Vocabulary, text: str, specials: bool | None) -> list[int]:
    prefix = vocabulary.prefix
    if not text:
        if prefix or (prefix := list(vocabulary.role("bos")[:1])):
            return prefix
        raise InputError("[generate] expected a prompt of at least one token, got an empty one")
    if specials:
        ids = vocabulary.encode_as_owner(text, specials=True)
        # A text that a template made has its own BOS.
        return ids if ids[: len(prefix)] == prefix else prefix + ids
    if specials is None and (found := _template_signs(vocabulary, text)):
        warnings.warn(
            f"the prompt spells the special token {found}, which stays text; give specials=True to "
            "make it the token, or specials=False to say that text is meant",
            stacklevel=_level_of_caller(),
        )
    return prefix + _as_owner(vocabulary, text)


def _level_of_caller() -> int:
    """As `warnings.warn` counts: the first line outside of the package."""
    frame, level = sys._getframe(1), 1
    while frame.f_back is not None and frame.f_globals["__name__"].startswith("anydraft."):
        frame, level = frame.f_back, level + 1
    return level


def _template_signs(vocabulary: Vocabulary, text: str) -> str | None:
    """A special token whose text begins or ends a turn, or a text, where the prompt spells one."""
    roles = ("bos", "eos", "end", "turn_start", "turn_end")
    ids = {token for role in roles for token in vocabulary.role(role)}
    signs = (sign for sign, token in vocabulary.specials.items() if token in ids)
    return next((sign for sign in signs if len(sign) > 2 and sign in text), None)


def _as_owner(vocabulary: Vocabulary, text: str) -> list[int]:
    """What the model was trained on: its owner's normalisation and prefix space, no specials."""
    try:
        return vocabulary.encode_as_owner(text, specials=False)
    except UnsupportedTokenizerError:
        return vocabulary.encode(text)

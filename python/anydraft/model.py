"""What a session asks of a model."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, Protocol

from anydraft._core import Feed
from anydraft.errors import InputError
from anydraft.vocabulary import Vocabulary


class Model(Protocol):
    """Any callable that takes feeds and returns logits.

    Called with feeds of one or more requests; each says which tokens to append to the request's
    cache (`tokens`, `positions`, `parents`) after cutting it to `keep`, and for how many last
    tokens logits are wanted (`rows`). Returns [sum of rows, vocab] in the order of the feeds;
    float32, bfloat16 or float16; a tensor of torch or numpy, or anything with DLPack. A torch
    tensor on a CUDA device stays there where the session's rows are read there.

    May also have `context_length` (int | None); `stop_tokens` (ids that end a text beside the
    vocabulary's eos and turn_end); `input_size` (how many ids it can be fed, where its vocabulary
    has more: such prompts are refused); `chat(messages) -> ids`; `forget(request)`, told when a
    request's cache is no longer wanted; `row_costs` (what a call on n rows costs, by n, in any
    unit that target and drafter share); `reuses_rows`; `device` (torch's, where its rows are: on a
    CUDA device a session then chooses a bridge that the device carries).

    The rows that it returns stay as they are until the target's next call for the request. A model
    that writes into its buffers again before says `reuses_rows = True`, and they are copied.

    Raises:
        InputError: by a session, for what is no callable with a vocabulary.

    >>> import torch
    >>> from anydraft import SamplingParams, SpeculativeSession
    >>> class Alternating:  # looks at the last token alone, so it needs no cache
    ...     vocabulary = Vocabulary.from_bytes(
    ...         [b"a", b"b"], encoder=lambda text: [ord(c) - 97 for c in text]
    ...     )
    ...     def __call__(self, feeds):
    ...         wanted = [feed.tokens[len(feed.tokens) - feed.rows :] for feed in feeds]
    ...         last = torch.tensor([token for tokens in wanted for token in tokens])
    ...         return torch.nn.functional.one_hot(1 - last, 2) * 9.0
    >>> SpeculativeSession(Alternating()).generate(
    ...     "a", sampling=SamplingParams(temperature=0, max_tokens=4)
    ... ).text
    'baba'
    """

    @property
    def vocabulary(self) -> Vocabulary: ...

    def __call__(self, feeds: list[Feed], /) -> Any: ...


def rows_of(model: Any, feeds: list[Feed]) -> Any:
    """What a model returns for these feeds, without gradients; a copy where it `reuses_rows`."""
    rows = model(feeds)
    rows = rows.detach() if hasattr(rows, "detach") else rows
    if not getattr(model, "reuses_rows", False):
        return rows
    copy = getattr(rows, "clone", None) or getattr(rows, "copy", None)
    if copy is not None or not hasattr(rows, "__dlpack__"):
        return rows if copy is None else copy()
    import torch

    return torch.utils.dlpack.from_dlpack(rows).clone()


def draft_rows_of(drafter: Any, feeds: list[Feed]) -> Any:
    """As `rows_of` of a drafter. One that has no row for an id of its vocabulary, say, of a target
    that reads images too, gets another id: drafts may be bad, and a call serves many requests."""
    rows = getattr(drafter, "input_size", None)
    if rows is not None and rows < drafter.vocabulary.size:
        feeds = [feed if max(feed.tokens, default=0) < rows else _fed(feed, rows) for feed in feeds]
    return rows_of(drafter, feeds)


def _fed(feed: Feed, rows: int) -> Any:
    names = ("request", "positions", "parents", "keep", "rows")
    tokens = [token if token < rows else 0 for token in feed.tokens]
    return SimpleNamespace(tokens=tokens, **{name: getattr(feed, name) for name in names})


def check_model(model: Any, role: str) -> None:
    """Raises:
    InputError: no callable with a vocabulary.
    """
    if callable(model) and isinstance(getattr(model, "vocabulary", None), Vocabulary):
        return
    raise InputError(
        f"[Session] expected a callable with a Vocabulary as {role} (hf.load(name_or_model) and "
        f"stateless(f, vocabulary) make one), got {type(model).__name__}"
    )

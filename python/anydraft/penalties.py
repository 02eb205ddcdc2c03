"""What changes the target's logits by the text before them: penalties, masks, one's own function.

The target's distribution at every node of a draft tree becomes that of the changed row, with the
node's own path as its text. So a speculative text still has exactly the distribution of decoding
token by token with the same changes; drafters do not know of them, which costs acceptance and
nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias

from anydraft import _core
from anydraft._core import Feed
from anydraft.errors import InputError

LogitsProcessor: TypeAlias = Callable[[Sequence[int], Sequence[int], Any], Any]
"""`f(prompt ids, ids after it, logits) -> logits`: what changes the target's logits by the text.

Both are float32 tensors [vocab]; the one that is given is a copy, and may be changed and returned.
A function of its arguments alone: a place may be asked for more than once, and places that are
drafted and then rejected are asked for too.

>>> import torch
>>> def never_zero(prompt, output, logits):
...     logits[0] = -torch.inf
...     return logits
>>> never_zero([1], [], torch.zeros(2))
tensor([-inf, 0.])
"""


@dataclass(frozen=True)
class Penalties:
    """A logits processor with the usual penalties and masks, applied in this order.

    Attributes:
        repetition_penalty: > 0; logits of tokens in prompt or output are divided by it where
            positive, else multiplied. 1: off. As transformers' and vLLM's (Keskar et al. 2019,
            section 4.1, which leaves the sign out).
        frequency_penalty: is taken off a logit for every time its token stands in the output, as
            vLLM's.
        presence_penalty: is taken off once where it stands there at all, as vLLM's.
        bad_words_ids: sequences of ids; the last one of each is ruled out where the ones before it
            end the text, as transformers'.
        allowed_token_ids: all others are ruled out, as vLLM's; None: all are allowed.

    Raises:
        InputError: a repetition penalty <= 0, an empty mask, a negative id.

    >>> import torch
    >>> Penalties(repetition_penalty=2.0, presence_penalty=1.0)([0], [1], torch.ones(3))
    tensor([ 0.5000, -0.5000,  1.0000])
    """

    repetition_penalty: float = 1.0
    frequency_penalty: float = 0.0
    presence_penalty: float = 0.0
    bad_words_ids: Sequence[Sequence[int]] = ()
    allowed_token_ids: Sequence[int] | None = None

    def __post_init__(self) -> None:
        if not self.repetition_penalty > 0:
            raise InputError(
                f"[Penalties] expected repetition_penalty > 0, got {self.repetition_penalty}"
            )
        if not all(self.bad_words_ids):
            raise InputError("[Penalties] expected bad_words_ids of at least one id each, got none")
        if self.allowed_token_ids is not None and not self.allowed_token_ids:
            raise InputError("[Penalties] expected allowed_token_ids or None, got none of them")
        least, _ = self._range
        if least < 0:
            raise InputError(f"[Penalties] expected token ids >= 0, got {least}")

    @cached_property
    def _range(self) -> tuple[int, int]:
        """The least and the largest id whose logit is ruled out or let stand."""
        ids = [*(word[-1] for word in self.bad_words_ids), *(self.allowed_token_ids or ())]
        return min(ids, default=0), max(ids, default=0)

    def changes(self) -> _core.LogitChanges:
        """The same for the engine, which then asks nobody row by row."""
        allowed = self.allowed_token_ids
        return _core.LogitChanges(
            repetition_penalty=self.repetition_penalty,
            frequency_penalty=self.frequency_penalty,
            presence_penalty=self.presence_penalty,
            bad_words=[list(word) for word in self.bad_words_ids],
            allowed=None if allowed is None else list(allowed),
        )

    def __call__(self, prompt: Sequence[int], output: Sequence[int], row: Any) -> Any:
        """row: torch.float32 [vocab], changed in place and returned.

        Raises:
            InputError: an id that the row has no logit for.
        """
        import torch

        _, most = self._range
        if most >= len(row):
            raise InputError(f"[Penalties] expected token ids < {len(row)} (logits), got {most}")
        text = [*prompt, *output]
        if self.repetition_penalty != 1:
            seen = _known({*text}, row)
            at, by = row[seen], self.repetition_penalty
            row[seen] = torch.where(at < 0, at * by, at / by)
        if self.frequency_penalty or self.presence_penalty:
            ids, counts = torch.unique(_known(output, row), return_counts=True)
            row[ids] -= self.frequency_penalty * counts + self.presence_penalty
        for *before, last in self.bad_words_ids:
            if text[len(text) - len(before) :] == before:
                row[last] = -torch.inf
        if self.allowed_token_ids is not None:
            allowed = torch.tensor(self.allowed_token_ids, device=row.device)
            row = torch.full_like(row, -torch.inf).index_copy(0, allowed, row[allowed])
        return row


def process_all(engine: Any, work: Any, handles: Mapping[int, Any], logits: Any) -> Any:
    """The target's rows of a call as its requests' processors change them; a request whose
    processor throws has its `error`, and the engine passes it over."""
    if all(handle.processor is None for handle in handles.values()):
        return logits
    rows, end = torch_rows(logits), 0
    for feed in work.feeds:
        handle, end = handles[feed.request], end + feed.rows
        if handle.processor is None:
            continue
        own = rows[end - feed.rows : end]
        try:
            process(handle.processor, handle.prompt, handle.tokens, feed, own)
        except Exception as error:
            handle.error = error
            engine.drop(work, feed.request)
    return rows


def _known(ids: Iterable[int], row: Any) -> Any:
    """Those that the row has a logit for, where it is."""
    import torch

    return torch.tensor([i for i in ids if i < len(row)], dtype=torch.int64, device=row.device)


def torch_rows(rows: Any) -> Any:
    """A copy as torch.float32, where the rows are."""
    import torch

    if not getattr(getattr(rows, "flags", None), "writeable", True):
        rows = rows.copy()  # numpy exports no array that is only to be read
    tensor = rows if isinstance(rows, torch.Tensor) else torch.utils.dlpack.from_dlpack(rows)
    return tensor.to(torch.float32, copy=True)


def process(
    processor: LogitsProcessor, prompt: list[int], output: list[int], feed: Feed, rows: Any
) -> None:
    """Changes the target's rows of a feed, torch.float32 [feed.rows, vocab], each by what stands
    before it.

    output: what is committed behind the prompt; the first row is that of its last token.
    """
    tokens, parents = feed.tokens, feed.parents
    root = len(tokens) - feed.rows
    paths: list[list[int]] = [[]]
    for node in range(root + 1, len(tokens)):
        paths.append([*paths[parents[node] - root], tokens[node]])
    for row, path in zip(rows, paths, strict=True):
        new = processor(prompt, [*output, *path], row)
        if getattr(new, "shape", None) != row.shape:  # a number would become a uniform distribution
            got = f"shape {list(new.shape)}" if hasattr(new, "shape") else type(new).__name__
            raise InputError(
                f"[generate] expected the logits [{len(row)}] back from logits_processor, got {got}"
            )
        row.copy_(new)

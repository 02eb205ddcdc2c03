"""One's own function of the text before them changes the target's logits.

The target's distribution at every node of a draft tree becomes that of the changed row, with the
node's own path as its text. So a speculative text still has exactly the distribution of decoding
token by token with the same changes; drafters do not know of them, which costs acceptance and
nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

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

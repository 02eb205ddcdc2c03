"""Several requests together: each call of a model serves all that wait for it.

Every request has a session of the core to itself, so what goes wrong in one of them (its encoder,
its rows, its logits processor) is that one's own affair.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from anydraft._core import Feed
from anydraft.errors import InputError

if TYPE_CHECKING:
    from anydraft.run import Run


def finish(runs: Sequence[Run], batch_size: int) -> None:
    """Decodes runs of one session to their ends, `batch_size` of them at a time.

    Raises:
        Whatever a model raises, at once; an error of one run alone, the first of them where there
        are several, once the others have ended (`Run.error`).
    """
    waiting = list(runs)
    going: list[Run] = []
    while waiting or going:
        joining = batch_size - len(going)
        going += waiting[:joining]
        del waiting[:joining]
        advance(going)
        going = [run for run in going if run.error is None and not run.ended]
    for run in runs:
        if run.error is not None:
            raise run.error


def advance(runs: Sequence[Run]) -> None:
    """One call of one model; the drafter's come first, so that the target's then serves all runs.

    An error of one run alone becomes its `error`; one of the model, and an interrupt, are raised.
    """
    started = time.perf_counter()
    try:
        asked = [(run, *work) for run in runs if (work := run.ask()) is not None]
        which = "drafter" if any(work[1] == "drafter" for work in asked) else "target"
        served = [(run, feed) for run, model, feed in asked if model == which]
        if served:
            _serve(served, which, runs)
    finally:
        for run in runs:
            run.spend("seconds", time.perf_counter() - started)


def _serve(served: list[tuple[Run, Feed]], which: str, runs: Sequence[Run]) -> None:
    """Calls the model and gives each run its rows; all `runs` wait for it."""
    try:
        logits = _call(served[0][0].model(which), [feed for _, feed in served], which, runs)
        rows = _split(logits, [feed.rows for _, feed in served], which)
        while served:
            run, feed = served[0]
            run.take(which, feed, rows[len(rows) - len(served)])
            del served[0]
    except BaseException:
        for run, _ in served:
            run.failed()  # the model may have cut its cache already
        raise


def _call(model: Any, feeds: list[Feed], which: str, runs: Sequence[Run]) -> Any:
    started = time.perf_counter()
    try:
        logits = model(feeds)
        # torch: no gradients, and the core reads CPU memory
        return logits.detach().cpu() if hasattr(logits, "detach") else logits
    finally:
        spent = time.perf_counter() - started
        for run in runs:
            run.spend("target_seconds" if which == "target" else "draft_seconds", spent)


def _split(logits: Any, counts: list[int], which: str) -> list[Any]:
    """The rows of each request."""
    if len(counts) == 1:
        return [logits]  # the core says what is wrong with it
    if len(logits) != sum(counts):
        raise InputError(
            f"[Session] expected logits [{sum(counts)}, vocab] from the {which}, got {len(logits)} "
            "rows"
        )
    ends = [sum(counts[: i + 1]) for i in range(len(counts))]
    return [logits[end - count : end] for end, count in zip(ends, counts, strict=True)]

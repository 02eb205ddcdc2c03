"""One decoding run that may be watched, and the table of what runs cost."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from anydraft import Generation, GenerationStats, SpeculativeSession
from anydraft.cli.terminal import TextStream, table, wants_colour

_HEADER = ("", "tokens", "target calls", "accepted/call", "acceptance", "tokens/s")


def decode(
    session: SpeculativeSession,
    prompt: Any,
    max_tokens: int,
    *,
    stop: Sequence[str] = (),
    shown: bool,
) -> Generation:
    """Run to the end or to Ctrl-C, which cancels the request and keeps what it has."""
    # Plain decoding has one origin only, and nothing to colour.
    out = TextStream(colour=session.drafter is not None and wants_colour(sys.stdout))
    run = session.stream(prompt, max_tokens=max_tokens, stop=stop)
    try:
        for event in run:
            if shown:
                out.write(event)
    except KeyboardInterrupt:
        run.cancel()
    finally:
        if shown:
            out.end()
    return run.generation


def speedup(generation: Generation, plain: Generation) -> float:
    """Seconds a token, plain over speculative; the texts may differ in length when sampled."""
    slow = plain.stats.tokens_per_second
    return generation.stats.tokens_per_second / slow if slow else 1.0


def stats_table(generations: Sequence[Generation]) -> str:
    """A line for each run."""
    return table([[*_HEADER, "outside models"], *(_row(run.stats) for run in generations)])


def _row(stats: GenerationStats) -> list[str]:
    drafted = bool(stats.drafted)
    return [
        "plain" if stats.bridge == "none" else stats.bridge,
        str(stats.tokens),
        str(stats.target_calls),
        f"{stats.accepted_per_call:.2f}" if drafted else "-",
        f"{stats.acceptance_rate:.1%}" if drafted else "-",
        f"{stats.tokens_per_second:.2f}",
        f"{stats.overhead:.1%}",
    ]

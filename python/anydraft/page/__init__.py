"""The page that shows where each token came from: live in the server, or as a file of a session.

One HTML file without anything from elsewhere. A policy in it, or in the server's headers, lets no
other script run, whatever a model writes.
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anydraft.errors import InputError
from anydraft.loading import describe

if TYPE_CHECKING:
    from anydraft.request import Event, GenerationStats, RequestHandle
    from anydraft.session import SpeculativeSession

_VIEW = Path(__file__).with_name("view.html")
_DATA = '<script type="application/json" id="data">null</script>'


def live_page() -> tuple[bytes, dict[str, str]]:
    """The page for a server, which it talks to, and its headers."""
    text = _VIEW.read_text("utf-8")
    headers = {
        "content-type": "text/html; charset=utf-8",
        "content-security-policy": f"{_policy(text)}; connect-src 'self'; frame-ancestors 'none'",
        "x-content-type-options": "nosniff",
        "referrer-policy": "no-referrer",
        "cache-control": "no-cache",
    }
    return text.encode(), headers


def write_report(
    session: SpeculativeSession, path: str | Path, runs: Sequence[RequestHandle]
) -> None:
    """`SpeculativeSession.report`.

    Raises:
        InputError: nothing was decoded.
    """
    if not runs:
        raise InputError("[report] expected a session that has decoded something, got none")
    text = _VIEW.read_text("utf-8")
    told = json.dumps(_report(session, runs), ensure_ascii=False)
    # "</script>" in a text must not end the element.
    told = told.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")
    policy = f'<meta http-equiv="Content-Security-Policy" content="{_policy(text)}">'
    text = text.replace("<!--policy-->", policy).replace(_DATA, _DATA.replace("null", told))
    Path(path).write_text(text, encoding="utf-8", errors="replace")


def shown_tokens(events: Sequence[Event]) -> list[list[Any]]:
    """Tokens as view.html reads them, out of a report and from the server."""
    return [[event.text, event.origin, event.source] for event in events]


def shown_stats(stats: GenerationStats) -> dict[str, Any]:
    """A text's counts, likewise."""
    names = ("tokens", "target_calls", "draft_calls", "drafted", "accepted", "bridge", "seconds")
    return {name: getattr(stats, name) for name in names}


def _report(session: SpeculativeSession, runs: Sequence[RequestHandle]) -> dict[str, Any]:
    drafter = session.drafter
    named = drafter if isinstance(drafter, str) else drafter and describe(drafter)
    models = describe(session.target)
    models += f" · drafter: {named}, bridge {session.bridge}" if named else " · no drafter"
    all_runs = [_run(session, handle) for handle in runs]
    tokens = sum(run["stats"]["tokens"] for run in all_runs)
    seconds = _covered([handle.span for handle in runs if handle.span])
    return {
        "models": models,
        "runs": all_runs,
        "tokens_per_second": tokens / seconds if seconds else 0,
    }


def _covered(spans: Sequence[tuple[float, float]]) -> float:
    """The time that at least one of the spans takes up."""
    seconds, until = 0.0, -math.inf
    for first, last in sorted(spans):
        seconds += max(0.0, last - max(first, until))
        until = max(until, last)
    return seconds


def _run(session: SpeculativeSession, handle: RequestHandle) -> dict[str, Any]:
    made = handle.generation
    return {
        "prompt": _prompt_text(session, handle.prompt),
        "tokens": shown_tokens(handle.history),
        "finish_reason": made.finish_reason or "",
        "stats": shown_stats(made.stats),
    }


def _prompt_text(session: SpeculativeSession, prompt: Sequence[int]) -> str:
    """With the names of specials, which a template is made of."""
    vocabulary = session.target.vocabulary
    names = {token: name.encode() for name, token in vocabulary.specials.items()}
    parts = [names.get(token) or vocabulary.decode([token]) for token in prompt]
    return b"".join(parts).decode("utf-8", "replace")


def _policy(text: str) -> str:
    """Lets run what the page has, and nothing else."""
    style = _hash(re.findall(r"<style>(.*?)</style>", text, re.DOTALL)[0])
    script = _hash(re.findall(r"<script>(.*?)</script>", text, re.DOTALL)[0])
    return (
        f"default-src 'none'; script-src {script}; style-src {style}; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )


def _hash(source: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(source.encode()).digest()).decode()}'"

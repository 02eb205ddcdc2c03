"""Calls of tools out of texts, however they are cut."""

from __future__ import annotations

import json
from typing import Any

import pytest

from anydraft.serve.tools import ToolSplitter, format_of

ARGS = {"city": "Köln", "days": [1, 2], "note": 'a "}" and </b>'}
J = json.dumps(ARGS, ensure_ascii=False)
TEXTS: list[tuple[Any, str, str, list[str]]] = [
    ("hermes", f'Hm.<tool_call>\n{{"name": "f", "arguments": {J}}}\n</tool_call>', "Hm.", ["f"]),
    (
        "hermes",
        f'<tool_call>{{"name": "f", "arguments": {J}}}</tool_call>\n'
        f'<tool_call>{{"name": "g", "arguments": {J}}}',  # the end is a special that has no text
        "",
        ["f", "g"],
    ),
    ("mistral", f'[TOOL_CALLS][{{"name": "f", "arguments": {J}}}, '
     f'{{"name": "g", "arguments": {J}}}]', "", ["f", "g"]),
    ("mistral", f"Hm.[TOOL_CALLS]f[ARGS]{J}[TOOL_CALLS]g{J}", "Hm.", ["f", "g"]),
    ("llama3", f'{{"name": "f", "parameters": {J}}}', "", ["f"]),
    ("llama3", f'<|python_tag|>{{"name": "f", "parameters": {J}}}; '
     f'{{"name": "g", "parameters": {J}}}', "", ["f", "g"]),
]  # fmt: skip
NOT_CALLS: list[tuple[Any, str]] = [
    ("hermes", "a <tool_cal and no more"),
    ("hermes", "<tool_call>{not JSON}</tool_call>"),
    ("hermes", '<tool_call>{"arguments": {}}</tool_call>'),
    ("mistral", "[TOOL_CALLS][1]"),
    ("mistral", "[TOOL_CALLS]f[ARGS]{"),
    ("llama3", '{"name": 3}'),
    ("llama3", 'See {"name": "f", "parameters": {}}'),  # Llama calls with its whole answer
]


def split(form: Any, parts: list[str]) -> tuple[str, list[tuple[str, Any]]]:
    splitter = ToolSplitter(form)
    shown = "".join(splitter.feed(part) for part in parts)
    rest, calls = splitter.end()
    assert len({call.id for call in calls}) == len(calls)
    return shown + rest, [(call.name, json.loads(call.arguments)) for call in calls]


@pytest.mark.parametrize(("form", "text", "shown", "names"), TEXTS)
def test_calls_come_out_of_any_pieces(form: Any, text: str, shown: str, names: list[str]) -> None:
    expected = shown, [(name, ARGS) for name in names]
    assert split(form, list(text)) == expected
    for at in range(len(text)):
        assert split(form, [text[:at], text[at:]]) == expected


@pytest.mark.parametrize(("form", "text"), NOT_CALLS)
def test_what_is_no_call_is_text(form: Any, text: str) -> None:
    for at in range(len(text)):
        assert split(form, [text[:at], text[at:]]) == (text, [])


def test_text_is_not_held_back_longer_than_needed() -> None:
    splitter = ToolSplitter("hermes")
    assert [splitter.feed(part) for part in ("a < b", "<tool", "s>", " c")] == [
        "a < b", "", "<tools>", " c"
    ]  # fmt: skip


def test_formats_are_read_off_templates() -> None:
    assert format_of("{% if tools %}<tool_call>{% endif %}") == "hermes"
    assert format_of("{% if tools %}[AVAILABLE_TOOLS][TOOL_CALLS]{% endif %}") == "mistral"
    assert format_of("{{ tools }}<|start_header_id|>") == "llama3"
    assert format_of("{{ messages }} <tool_call>") == "none"

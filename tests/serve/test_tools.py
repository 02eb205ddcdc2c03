"""Calls of tools out of texts, however they are cut."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest

from anydraft import Event
from anydraft.serve.style import Choice
from anydraft.serve.tools import ToolSplitter, format_of

ARGS = {"city": "Köln", "days": [1, 2], "note": 'a "}" and </b> </tool_call>'}
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
    ("mistral", f'Hm.[TOOL_CALLS][{{"name": "f", "arguments": {J}}}] And so.', "Hm.And so.", ["f"]),
    ("mistral", f"[TOOL_CALLS]f{J} And so.", "And so.", ["f"]),
    ("mistral", f"[TOOL_CALLS]f[CALL_ID]abc[ARGS]{J}[TOOL_CALLS]g[CALL_ID]d[ARGS]{J}", "",
     ["f", "g"]),
    ("llama3", f'{{"name": "f", "parameters": {J}}}', "", ["f"]),
    ("llama3", f'{{"name": "f", "arguments": {json.dumps(J)}}}', "", ["f"]),
    ("llama3", f'<|python_tag|>{{"name": "f", "parameters": {J}}}; '
     f'{{"name": "g", "parameters": {J}}}', "", ["f", "g"]),
]  # fmt: skip
NOT_CALLS: list[tuple[Any, str]] = [
    ("hermes", "a <tool_cal and no more"),
    ("hermes", "<tool_call>{not JSON}</tool_call>"),
    ("hermes", '<tool_call>{"arguments": {}}</tool_call>'),
    ("hermes", '<tool_call>{"name": "f"}</tool_call>'),
    *(
        (form, text % arguments)
        for form, text in (
            ("hermes", '<tool_call>{"name": "f", "arguments": %s}</tool_call>'),
            ("mistral", '[TOOL_CALLS][{"name": "f", "arguments": %s}]'),
            ("llama3", '{"name": "f", "parameters": %s}'),
        )
        for arguments in ("null", "[1]", "3", '"not JSON"', '"[1]"', '"{} more"', '{"a": NaN}')
    ),
    ("mistral", "[TOOL_CALLS][1]"),
    ("mistral", "[TOOL_CALLS][]"),
    ("llama3", '{"name": "Ada Lovelace", "born": 1815}'),
    ("llama3", '{"name": "Ada", "parameters": {}}'),  # no tool of the request
    ("mistral", "[TOOL_CALLS]f[ARGS]{"),
    ("llama3", '{"name": 3}'),
    ("llama3", 'See {"name": "f", "parameters": {}}'),  # Llama calls with its whole answer
]


def split(form: Any, parts: list[str]) -> tuple[str, list[tuple[str, Any]]]:
    splitter = ToolSplitter(form, frozenset("fg"))
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


@pytest.mark.parametrize("form", ["hermes", "mistral", "llama3"])
def test_specials_of_a_call_are_spelt(form: Any) -> None:
    """Else an id, say, would run into the name before it."""
    said = {
        "hermes": ["<tool_call>", '{"name": "f", "arguments": {}}', "</tool_call>"],
        "mistral": ["[TOOL_CALLS]", "f", "[CALL_ID]", "abc", "[ARGS]", "{}"],
        "llama3": ["<|python_tag|>", '{"name": "f", "parameters": {}}'],
    }[form]
    special: Any = SimpleNamespace(
        special=lambda token: said[token] if said[token][0] in "<[" else None
    )
    choice = Choice(0, [], ToolSplitter(form))
    events = [
        Event("" if special.special(i) else text, (i,), "bonus") for i, text in enumerate(said)
    ]
    assert choice.shown(events, special) + choice.end("stop") == ""
    assert [call.name for call in choice.calls] == ["f"] and choice.reason == "tool_calls"

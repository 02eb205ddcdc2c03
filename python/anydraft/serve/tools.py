"""Calls of tools in a model's text: the formats that chat templates teach."""

from __future__ import annotations

import json
import re
import secrets
import string
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from anydraft.serve.options import ToolFormat
from anydraft.stops import begun

_OPENERS = {"hermes": "<tool_call>", "mistral": "[TOOL_CALLS]", "llama3": "<|python_tag|>"}
_DECODER = json.JSONDecoder()


@dataclass(frozen=True)
class ToolCall:
    """A call as OpenAI tells it; `arguments` is JSON's text."""

    id: str
    name: str
    arguments: str

    def as_json(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "type": "function",
            "function": {"name": self.name, "arguments": self.arguments},
        }


def format_of(template: str) -> ToolFormat:
    """The format that a chat template shows its model; "none": it knows of no tools."""
    if "tools" not in template:
        return "none"
    if "[TOOL_CALLS]" in template:
        return "mistral"
    if "<tool_call>" in template:
        return "hermes"
    if "python_tag" in template or "<|start_header_id|>" in template:
        return "llama3"
    return "none"


class ToolSplitter:
    """Text in, piece by piece; what is no call comes out at once, the calls at the end.

    >>> splitter = ToolSplitter("hermes")
    >>> splitter.feed("Let me see. <tool"), splitter.feed('_call>{"name": "f", "arguments": {}}')
    ('Let me see. ', '')
    >>> text, calls = splitter.end()
    >>> text, calls[0].name, calls[0].arguments
    ('', 'f', '{}')
    """

    def __init__(self, form: ToolFormat) -> None:
        self._form = form
        self._opener = _OPENERS[form]
        self._held = ""  # may begin a call, or is behind one's beginning
        self._opened = False
        self._shown = False

    def feed(self, text: str) -> str:
        """What can be shown now."""
        self._held += text
        if self._opened:
            return ""
        at = self._held.find(self._opener)
        if at < 0 and self._form == "llama3" and not self._shown:
            start = self._held.lstrip()
            at = 0 if start.startswith("{") else -1
            if not start:
                return ""
        if at >= 0:
            self._opened = True
        else:
            at = len(self._held) - begun(self._held, [self._opener])
        out, self._held = self._held[:at], self._held[at:]
        self._shown = self._shown or bool(out)
        return out

    def end(self) -> tuple[str, list[ToolCall]]:
        """(what is left of the text, the calls); what reads as no call is text."""
        if not self._opened:
            return self._held, []
        calls = _PARSERS[self._form](self._held)
        if calls is None:
            return self._held, []
        rest, found = calls
        return rest, [ToolCall(_id(self._form), name, _text(args)) for name, args in found]


Found = tuple[str, list[tuple[str, Any]]]


def _hermes(text: str) -> Found | None:
    """<tool_call>{"name": …, "arguments": …}</tool_call>, several of them; Qwen, Hermes."""
    blocks = re.findall(r"<tool_call>(.*?)(?:</tool_call>|$)", text, re.DOTALL)
    calls = [_call(_json(block)) for block in blocks]
    if not calls or None in calls:
        return None
    rest = re.sub(r"<tool_call>.*?(?:</tool_call>|$)", "", text, flags=re.DOTALL).strip()
    return rest, [call for call in calls if call]


def _mistral(text: str) -> Found | None:
    """[TOOL_CALLS][{"name": …, "arguments": …}, …], or [TOOL_CALLS]name[ARGS]{…} for each."""
    calls: list[tuple[str, Any] | None] = []
    for part in text.split("[TOOL_CALLS]")[1:]:
        if part.lstrip().startswith("["):
            listed = _json(part)
            calls += [_call(one) for one in listed] if isinstance(listed, list) else [None]
            continue
        name, brace, rest = part.partition("{")
        arguments = _json(brace + rest)
        name = name.replace("[ARGS]", "").strip()
        calls.append((name, arguments) if name and isinstance(arguments, dict) else None)
    return None if not calls or None in calls else ("", [call for call in calls if call])


def _llama3(text: str) -> Found | None:
    """{"name": …, "parameters": …}, several of them with ";" between."""
    rest = text.replace("<|python_tag|>", "").strip()
    calls = []
    while rest:
        try:
            value, end = _DECODER.raw_decode(rest)
        except (ValueError, RecursionError):
            return None
        call = _call(value)
        if call is None:
            return None
        calls.append(call)
        rest = rest[end:].lstrip("; \n")
    return ("", calls) if calls else None


_PARSERS = {"hermes": _hermes, "mistral": _mistral, "llama3": _llama3}


def _json(text: str) -> Any:
    try:
        return _DECODER.raw_decode(text.strip())[0]
    except (ValueError, RecursionError):
        return None


def _call(value: Any) -> tuple[str, Any] | None:
    if not isinstance(value, Mapping) or not isinstance(value.get("name"), str):
        return None
    arguments = value.get("arguments", value.get("parameters", {}))
    return value["name"], arguments


def _text(arguments: Any) -> str:
    """Some models write the arguments as a text of JSON already."""
    return arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)


def _id(form: ToolFormat) -> str:
    if form == "mistral":  # its templates want nine letters and digits
        return "".join(secrets.choice(string.ascii_letters + string.digits) for _ in range(9))
    return f"call_{secrets.token_hex(12)}"

"""Calls of tools in a model's text: the formats that chat templates teach."""

from __future__ import annotations

import json
import secrets
import string
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from anydraft.serve.options import ToolFormat
from anydraft.stops import begun

_OPENERS = {"hermes": "<tool_call>", "mistral": "[TOOL_CALLS]", "llama3": "<|python_tag|>"}


def _no_json(constant: str) -> Any:
    raise ValueError(constant)  # NaN and Infinity, which Python's JSON has and no client's


_DECODER = json.JSONDecoder(parse_constant=_no_json)
Names: TypeAlias = frozenset[str] | None


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

    def __init__(self, form: ToolFormat, names: Names = None) -> None:
        """names: of the request's tools, where they are known."""
        self._form, self._names = form, names
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
        calls = _PARSERS[self._form](self._held, self._names)
        if calls is None:
            return self._held, []
        rest, found = calls
        return rest, [ToolCall(_id(self._form), name, _text(args)) for name, args in found]


Found = tuple[str, list[tuple[str, Any]]]  # the text beside the calls, names and arguments


def _hermes(text: str, names: Names) -> Found | None:
    """<tool_call>{"name": …, "arguments": …}</tool_call>, several of them; Qwen, Hermes."""
    between, calls = [], []
    while (at := text.find("<tool_call>")) >= 0:
        between.append(text[:at])
        # Where the object ends says where the call does: a text in it may have the tag.
        value, rest = _read(text[at + len("<tool_call>") :])
        call = _call(value, ("arguments", "parameters"))
        if call is None or not _closes(rest):
            return None
        calls.append(call)
        text = rest.removeprefix("</tool_call>")
    return ("".join([*between, text]).strip(), calls) if calls else None


def _closes(rest: str) -> bool:
    """The end may be a special that has no text; then another call or nothing comes."""
    return not rest or rest.startswith(("</tool_call>", "<tool_call>"))


def _mistral(text: str, names: Names) -> Found | None:
    """[TOOL_CALLS][{"name": …, "arguments": …}, …], or [TOOL_CALLS]name[ARGS]{…} for each."""
    shown, calls = "", list[tuple[str, Any]]()
    for part in text.split("[TOOL_CALLS]")[1:]:
        found = _listed(part) if part.lstrip().startswith("[") else _named(part)
        if found is None:
            return None
        shown, calls = shown + found[0], calls + found[1]
    return (shown, calls) if calls else None


def _listed(part: str) -> Found | None:
    listed, rest = _read(part)
    if not isinstance(listed, list) or not listed:
        return None
    calls = [_call(one, ("arguments", "parameters")) for one in listed]
    return None if None in calls else (rest, [call for call in calls if call])


def _named(part: str) -> Found | None:
    """f{…}, f[ARGS]{…}, or f[CALL_ID]abc[ARGS]{…}."""
    head, brace, rest = part.partition("{")
    arguments, rest = _read(brace + rest)
    name = head.partition("[ARGS]")[0].partition("[CALL_ID]")[0].strip()
    return (rest, [(name, arguments)]) if name and isinstance(arguments, dict) else None


def _llama3(text: str, names: Names) -> Found | None:
    """{"name": …, "parameters": …}, several of them with ";" between. JSON without a tag may be an
    answer, so it is a call only where it names one of the tools."""
    names = None if "<|python_tag|>" in text else names
    rest = text.replace("<|python_tag|>", "").strip()
    calls = []
    while rest:
        value, rest = _read(rest)
        call = _call(value, ("parameters", "arguments"))
        if call is None or (names is not None and call[0] not in names):
            return None
        calls.append(call)
        rest = rest.lstrip("; \n")
    return ("", calls) if calls else None


_PARSERS = {"hermes": _hermes, "mistral": _mistral, "llama3": _llama3}


def _read(text: str) -> tuple[Any, str]:
    """(the JSON value at the beginning, what is behind it); None where there is none."""
    text = text.lstrip()
    try:
        value, end = _DECODER.raw_decode(text)
    except (ValueError, RecursionError):
        return None, text
    return value, text[end:].lstrip()


def _call(value: Any, keys: tuple[str, str]) -> tuple[str, Any] | None:
    """(name, arguments), which must be an object, or the text of one as some models write it."""
    if not isinstance(value, Mapping) or not isinstance(value.get("name"), str):
        return None
    arguments = next((value[key] for key in keys if key in value), None)
    if isinstance(arguments, str):
        told, rest = _read(arguments)
        return (value["name"], arguments) if isinstance(told, Mapping) and not rest else None
    return (value["name"], arguments) if isinstance(arguments, Mapping) else None


def _text(arguments: Any) -> str:
    return arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)


def _id(form: ToolFormat) -> str:
    if form == "mistral":  # its templates want nine letters and digits
        return "".join(secrets.choice(string.ascii_letters + string.digits) for _ in range(9))
    return f"call_{secrets.token_hex(12)}"

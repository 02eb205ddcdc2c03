"""Chat messages as clients write them, as chat templates take them."""

from __future__ import annotations

import json
from typing import Any

from anydraft.serve.errors import ApiError
from anydraft.serve.schema import Json

_FIELDS = {
    "role", "content", "name", "tool_calls", "tool_call_id", "reasoning_content", "refusal",
    "function_call", "audio", "annotations",
}  # fmt: skip
_EMPTY = ("refusal", "function_call", "audio", "annotations")  # that our answers come back with


def messages_of(given: list[Json]) -> list[Json]:
    """Text parts joined, arguments of calls as objects, "developer" as "system".

    Raises:
        ApiError: 400, a field or part that is not supported, by name.
    """
    return [_message(message, f"messages.{i}") for i, message in enumerate(given)]


def _message(given: Json, where: str) -> Json:
    for field in given:
        if field not in _FIELDS:
            raise ApiError(400, f"unknown field {where}.{field}", param=f"{where}.{field}",
                           code="unknown_field")  # fmt: skip
    for field in _EMPTY:
        if given.get(field):
            raise ApiError(400, f"{where}.{field} is not supported", param=f"{where}.{field}")
    role = given.get("role")
    if not isinstance(role, str):
        raise ApiError(400, f"{where}.role: expected a text", param=f"{where}.role")
    made: Json = {key: value for key, value in given.items() if key not in _EMPTY}
    made["role"] = "system" if role == "developer" else role
    made["content"] = _content(given.get("content"), where)
    if (calls := given.get("tool_calls")) is not None:
        if not isinstance(calls, list):
            raise ApiError(400, f"{where}.tool_calls: expected a list, got "
                           f"{type(calls).__name__}", param=f"{where}.tool_calls")  # fmt: skip
        made["tool_calls"] = [_tool_call(call, where) for call in calls]
    return made


def _content(content: Any, where: str) -> str:
    if content is None or isinstance(content, str):
        return content or ""
    if not isinstance(content, list):
        raise ApiError(400, f"{where}.content: expected a text or parts", param="messages")
    texts = []
    for part in content:
        kind = part.get("type") if isinstance(part, dict) else None
        if kind != "text" or not isinstance(part.get("text"), str):
            raise ApiError(400, f"{where}.content: only parts of type text are supported, got "
                           f"{kind}", param="messages", code="unsupported_value")  # fmt: skip
        texts.append(part["text"])
    return "".join(texts)


def _tool_call(call: Any, where: str) -> Any:
    try:
        function = dict(call["function"])
        arguments = function.get("arguments") or "{}"
        if isinstance(arguments, str):
            function["arguments"] = json.loads(arguments)
        return {**call, "function": function}
    except (KeyError, TypeError, ValueError, RecursionError):
        raise ApiError(400, f"{where}.tool_calls: expected functions with JSON as arguments",
                       param="messages") from None  # fmt: skip

"""What requests may say: OpenAI's fields, and vLLM's of sampling. Any other one is refused.

A field that we know of and cannot honour is named here too, and refused unless it asks for nothing.
"""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal, TypeAlias, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from anydraft.serve.errors import ApiError

Json: TypeAlias = dict[str, Any]
Asked = TypeVar("Asked", bound="Request")
Number: TypeAlias = Annotated[float, Field(allow_inf_nan=False)]
# An item that is wrong ends the check of its list: one error for each of a million items, told at
# the end, costs a thousand times what the body does.
_Item = TypeVar("_Item")
List: TypeAlias = Annotated[list[_Item], Field(fail_fast=True)]
# Each is looked for in each token's text, or spelt in the model's tokens: they cost as much as a
# call of the model where there are many of them.
MOST_STRINGS, MOST_LETTERS = 64, 1024
_MOST_WRONG = 1000  # to tell one of them, pydantic words them all
Sought: TypeAlias = Annotated[str, Field(max_length=MOST_LETTERS)]
Strings: TypeAlias = Annotated[list[Sought], Field(max_length=MOST_STRINGS, fail_fast=True)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class StreamOptions(_Strict):
    include_usage: bool = False
    include_obfuscation: Literal[False] | None = None


class Request(_Strict):
    """What completions and chats have in common."""

    model: str
    stream: bool = False
    stream_options: StreamOptions | None = None
    n: Annotated[int, Field(ge=1, le=128)] | None = None
    max_tokens: Annotated[int, Field(ge=0)] | None = None
    temperature: Annotated[Number, Field(ge=0, le=2)] | None = None
    top_p: Annotated[Number, Field(gt=0, le=1)] | None = None
    seed: Annotated[int, Field(ge=-(2**63), lt=2**64)] | None = None
    stop: Sought | Strings | None = None
    presence_penalty: Annotated[Number, Field(ge=-2, le=2)] | None = None
    frequency_penalty: Annotated[Number, Field(ge=-2, le=2)] | None = None
    logit_bias: dict[str, Number] | None = None
    user: str | None = None  # for the caller's own records; nothing depends on it
    # vLLM's
    top_k: int | None = None
    min_p: Number | None = None
    # Beyond these, logits overflow or nothing is left of them.
    repetition_penalty: Annotated[Number, Field(ge=0.01, le=100)] | None = None
    min_tokens: int | None = None
    ignore_eos: bool | None = None
    stop_token_ids: List[int] | None = None
    bad_words: Strings | None = None
    allowed_token_ids: List[int] | None = None
    # ours: the origin of each token beside the text
    origins: bool = False


class CompletionRequest(Request):
    """`POST /v1/completions`."""

    prompt: str | List[str] | List[int] | List[List[int]]
    logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    echo: Literal[False] | None = None
    best_of: Literal[1] | None = None
    suffix: None = None


class Function(_Strict):
    name: str
    description: str | None = None
    parameters: Json | None = None
    strict: Literal[False] | None = None


class Tool(_Strict):
    type: Literal["function"]
    function: Function


class ResponseFormat(_Strict):
    type: Literal["text"]


class ChatRequest(Request):
    """`POST /v1/chat/completions`."""

    messages: Annotated[list[Json], Field(min_length=1, fail_fast=True)]
    max_completion_tokens: Annotated[int, Field(ge=0)] | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    tools: List[Tool] | None = None
    tool_choice: Literal["none", "auto"] | None = None
    parallel_tool_calls: Literal[True] | None = None
    response_format: ResponseFormat | None = None
    metadata: dict[str, str] | None = None  # as user
    store: Literal[False] | None = None
    chat_template_kwargs: Json | None = None


def read(kind: type[Asked], body: bytes) -> Asked:
    """A body as a request.

    Raises:
        ApiError: 400, with the field's name.
    """
    try:
        return kind.model_validate_json(body)
    except ValidationError as error:
        if error.error_count() > _MOST_WRONG:
            told = f"expected fields as /openapi.json says, got {error.error_count()} that differ"
            raise ApiError(400, told, code="invalid_value") from None
        raise _refusal(kind, body, error.errors(include_url=False)) from None
    except RecursionError:
        raise ApiError(400, "expected JSON, got one that is nested too deeply") from None


def _refusal(kind: type[BaseModel], body: bytes, wrong: list[Any]) -> ApiError:
    first = _telling(wrong)
    where = [str(part) for part in first["loc"]]
    field = where[0] if where else None
    if first["type"] == "json_invalid":
        return ApiError(400, f"expected a JSON object, got none: {first['ctx']['error']}")
    if field is None:
        return ApiError(400, f"expected a JSON object: {first['msg']}")
    if first["type"] == "missing" and len(where) == 1:
        return ApiError(400, f"expected the field {field}", param=field, code="missing_field")
    unknown = next((item for item in wrong if item["type"] == "extra_forbidden"), None)
    if unknown is not None:
        name = ".".join(str(part) for part in unknown["loc"])
        return ApiError(400, f"unknown field {name}", param=name, code="unknown_field")
    if field in _NOT_YET and field in kind.model_fields:
        return ApiError(400, f"{field}: {_NOT_YET[field]}", param=field, code="unsupported_value")
    told = f"{'.'.join(where)}: {first['msg']}, got {_shown(first.get('input'))}"
    return ApiError(400, told, param=field, code="invalid_value")


def _telling(wrong: list[Any]) -> Any:
    """The first error; of a field of several types that of the type which came, if it is told."""
    same = (item for item in wrong if item["loc"][:1] == wrong[0]["loc"][:1])
    return next((item for item in same if item["type"] not in _OTHER_TYPE), wrong[0])


_OTHER_TYPE = ("string_type", "list_type", "int_type")
_NOT_YET = {
    "response_format": 'only {"type": "text"} is supported: the text is not constrained',
    "tool_choice": 'only "none" and "auto" are supported: no call can be forced',
    "parallel_tool_calls": "only true is supported: the model calls as many as it wants",
    "echo": "only false is supported",
    "best_of": "only 1 is supported; n gives several texts",
    "suffix": "no text behind the completion is supported",
    "store": "nothing is stored: only false is supported",
}


def _shown(value: Any) -> str:
    try:
        text = json.dumps(value)
    except (TypeError, ValueError):
        text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."

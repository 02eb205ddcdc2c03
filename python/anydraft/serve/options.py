"""What a server may be told."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from anydraft.errors import InputError

ToolFormat: TypeAlias = Literal["auto", "hermes", "llama3", "mistral", "none"]


@dataclass(frozen=True)
class ServerOptions:
    """Limits and names of a server; the defaults suit one machine behind no proxy.

    Attributes:
        name: of the model, as clients ask for it.
        drafter_name: what the page calls the drafter.
        api_keys: one of them must come as "Authorization: Bearer KEY"; none: anybody may ask.
        cors_origins: web pages of other origins that may ask; none by default.
        max_active: texts decoded at a time; `n` texts of a request count as n.
        max_queue: requests that wait for a place; further ones get 429.
        cache_bytes: of the models' caches together; None: half of the memory that is free.
        default_max_tokens: of a chat that names no limit.
        max_body_bytes: longer bodies get 413.
        request_timeout: seconds for a request, its wait included.
        queue_timeout: seconds of wait; then 503.
        read_timeout: seconds for the head of a request, and again for its body.
        write_timeout: seconds in which a reader takes nothing; then it is cut off.
        drain_timeout: seconds that going requests have to end after SIGTERM.
        tool_format: how the model spells its calls of tools; "auto": by its chat template.
        log_prompts: prompts and texts in the log; else nothing of them is.
    """

    name: str = "model"
    drafter_name: str = ""
    api_keys: tuple[str, ...] = ()
    cors_origins: tuple[str, ...] = ()
    max_active: int = 16
    max_queue: int = 128
    cache_bytes: int | None = None
    default_max_tokens: int = 1024
    max_body_bytes: int = 2 << 20
    request_timeout: float = 600.0
    queue_timeout: float = 60.0
    read_timeout: float = 10.0
    write_timeout: float = 30.0
    drain_timeout: float = 30.0
    tool_format: ToolFormat = "auto"
    log_prompts: bool = False

    def __post_init__(self) -> None:
        for name in ("max_active", "default_max_tokens", "max_body_bytes"):
            if getattr(self, name) < 1:
                raise InputError(f"[serve] expected {name} >= 1, got {getattr(self, name)}")
        for name in ("request", "queue", "read", "write", "drain"):
            seconds = getattr(self, f"{name}_timeout")
            if not seconds > 0:
                raise InputError(f"[serve] expected {name}_timeout > 0, got {seconds}")
        if self.max_queue < 0:
            raise InputError(f"[serve] expected max_queue >= 0, got {self.max_queue}")
        if not all(self.api_keys):
            raise InputError("[serve] expected API keys that are not empty")
        if self.cache_bytes is not None and self.cache_bytes < 1:
            raise InputError(f"[serve] expected cache_bytes >= 1, got {self.cache_bytes}")

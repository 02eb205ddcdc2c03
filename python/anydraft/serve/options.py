"""What a server may be told."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

from anydraft.checks import number, whole_number
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
        allowed_hosts: names, without ports, that requests may be addressed to, beside the server's
            own. At a loopback address these are all, so that no web page can ask by a name of its
            own that leads here; at another address all names are taken, unless some are given.
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
    allowed_hosts: tuple[str, ...] = ()
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
        self._check_texts()
        for name in ("max_active", "default_max_tokens", "max_body_bytes"):
            whole_number(getattr(self, name), "serve", name, 1)
        whole_number(self.max_queue, "serve", "max_queue")
        if self.cache_bytes is not None:
            whole_number(self.cache_bytes, "serve", "cache_bytes", 1)
        for name in ("request", "queue", "read", "write", "drain"):
            seconds = getattr(self, f"{name}_timeout")
            if number(seconds, "serve", f"{name}_timeout") <= 0:
                raise InputError(f"[serve] expected {name}_timeout > 0, got {seconds}")
        if self.tool_format not in (formats := get_args(ToolFormat)):
            raise InputError(
                f"[serve] expected tool_format out of {', '.join(formats)}, got "
                f"{self.tool_format!r}"
            )
        if not isinstance(self.log_prompts, bool):
            raise InputError(
                f"[serve] expected log_prompts true or false, got {self.log_prompts!r}"
            )

    def _check_texts(self) -> None:
        if not isinstance(self.name, str) or not self.name:
            raise InputError(
                f"[serve] expected name as a text that is not empty, got {self.name!r}"
            )
        if not isinstance(self.drafter_name, str):
            raise InputError(f"[serve] expected drafter_name as a text, got {self.drafter_name!r}")
        # What a key was is told to nobody: an error goes to a log.
        for name in ("api_keys", "cors_origins", "allowed_hosts"):
            many = getattr(self, name)
            if not isinstance(many, tuple | list):  # the letters of a text are texts too
                kind = type(many).__name__
                raise InputError(f"[serve] expected {name} as a tuple of texts, got a {kind}")
            if not all(isinstance(one, str) and one for one in many):
                raise InputError(f"[serve] expected {name} as texts that are not empty")

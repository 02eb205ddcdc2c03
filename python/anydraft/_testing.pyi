"""The enumerating backend, for `anydraft.testing` and this project's tests."""

from collections.abc import Callable
from typing import Any

from anydraft._core import SamplingParams

def enumerate(
    target_logits: Any,
    draft_logits: Any,
    widths: list[int],
    drawn: int,
    stated: int,
    sparse: int,
    merge: bool,
    max_nodes: int,
    depth: int,
    beam: int,
    sampling: SamplingParams,
    draft_sampling: SamplingParams,
    verifier: str,
) -> list[tuple[float, list[int]]]:
    """Every outcome of one round: its weight, the tokens it emits."""

class Branches:
    """A session's random choices as branches: run the session anew for each `advance`."""

    def __init__(
        self, restate: Callable[..., Any] | None = None, only: int | None = None
    ) -> None: ...
    def restart(self) -> None: ...
    def use(self, request: int, position: int, node: int, purpose: int, attempt: int) -> None: ...
    def advance(self) -> bool: ...
    @property
    def weight(self) -> float: ...

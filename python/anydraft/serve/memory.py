"""What a text takes of memory."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from anydraft.session import SpeculativeSession

_PAGE = 64  # tokens; of the native decoder's cache


class CacheCost:
    """Bytes of target's and drafter's caches for a text.

    Attributes:
        per_token: bytes; 0 where a model does not tell.
    """

    def __init__(self, session: SpeculativeSession) -> None:
        drafter = None if isinstance(session.drafter, str) else session.drafter
        self.per_token = _per_token(session.target) + _per_token(drafter)
        self._ahead = 64  # a draft's tokens lie in the cache until they are judged

    def of(self, tokens: int) -> int:
        pages = -(-(tokens + self._ahead) // _PAGE)
        return pages * _PAGE * self.per_token


def _per_token(model: Any) -> int:
    if model is None:
        return 0
    if (told := getattr(model, "cache_bytes_per_token", None)) is not None:
        return int(told)
    config: Any = getattr(getattr(model, "model", None), "config", None)  # of transformers
    config = config.get_text_config() if hasattr(config, "get_text_config") else config
    layers, heads = (
        getattr(config, name, None) for name in ("num_hidden_layers", "num_attention_heads")
    )
    if not isinstance(layers, int) or not isinstance(heads, int):
        return 0
    kv_heads = getattr(config, "num_key_value_heads", None) or heads
    head = getattr(config, "head_dim", None) or getattr(config, "hidden_size", 0) // heads
    width = getattr(getattr(model.model, "dtype", None), "itemsize", 4)
    return int(2 * layers * kv_heads * head * width)


def free_memory() -> int:
    """Bytes that could be had without swapping; of a control group where it has less."""
    pages = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    try:
        lines = Path("/proc/meminfo").read_text("ascii").splitlines()
        available = next(int(line.split()[1]) << 10 for line in lines if "MemAvailable" in line)
    except (OSError, StopIteration):
        available = pages
    try:
        group = Path("/sys/fs/cgroup")
        limit = int((group / "memory.max").read_text("ascii"))
        return max(min(available, limit - int((group / "memory.current").read_text("ascii"))), 0)
    except (OSError, ValueError):  # no such group, or "max"
        return available

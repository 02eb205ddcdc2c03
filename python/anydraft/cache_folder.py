"""Where files are kept that can be made again."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder() -> Path:
    """$ANYDRAFT_CACHE, else anydraft in the user's cache folder; it need not exist."""
    if own := os.environ.get("ANYDRAFT_CACHE"):
        return Path(own).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "anydraft"

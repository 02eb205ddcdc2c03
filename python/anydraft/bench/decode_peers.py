"""Other libraries' decoding beside ours: each in a process of its own (`peer_process`)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from anydraft.bench import peer_process
from anydraft.bench.decode import Run
from anydraft.cache_folder import cache_folder

CONTEXT = 1024  # of llama.cpp, whose speculation keeps a row of logits for each place
MODES = {
    "llama.cpp": ("plain", "lookup", "draft"),
    "openvino": ("plain", "lookup", "draft"),
    "transformers": ("plain", "draft"),
}
# Prompts of which one is measured, for modes that take long and never win.
_EVERY = {"llama.cpp draft": 4, "transformers plain": 5, "transformers draft": 5}


@dataclass
class Peer:
    """A library in one mode, at work in its own process.

    Raises:
        RuntimeError: what the library says of why it cannot run here.
    """

    name: str
    python: str
    options: dict[str, Any]
    version: str = field(init=False)

    def __post_init__(self) -> None:
        library = self.name.split()[0]
        command = [self.python, peer_process.__file__, library, json.dumps(self.options)]
        environment = {**os.environ, "OMP_NUM_THREADS": str(self.options["threads"])}
        environment.pop("PYTHONPATH", None)
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=environment,
        )
        self.version = str(self._answer()["version"])

    @property
    def every(self) -> int:
        """Of so many prompts one is measured."""
        return _EVERY.get(self.name, 1)

    def run(self, number: int, prompt: Sequence[int], tokens: int, ends: Sequence[int]) -> Run:
        """Greedy, up to one of `ends`."""
        assert self._process.stdin is not None
        asked = {"prompt": list(prompt), "tokens": tokens, "ends": list(ends)}
        self._process.stdin.write(json.dumps(asked) + "\n")
        self._process.stdin.flush()
        told = self._answer()
        seconds = told["prefill"], told["decoding"]
        return Run(self.name, number, told["tokens"], *seconds, 0.0, 0, first=told["first"])

    def close(self) -> None:
        """Ends the process."""
        self._process.kill()
        self._process.wait()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        told = json.loads(line) if line else {"error": "its process has ended"}
        if "error" in told:
            self.close()
            raise RuntimeError(told["error"])
        return told


def start(
    libraries: Sequence[str],
    pythons: Sequence[str],
    files: dict[str, tuple[str, str | None]],
    threads: int,
    context: int = CONTEXT,
) -> tuple[list[Peer], dict[str, str]]:
    """(peers that run, {name of another: why not}).

    Args:
        libraries: out of `MODES`, or with one mode of it, "llama.cpp plain".
        pythons: interpreters that may have them, tried in order; this one is the last.
        files: by library its target and its drafter (None: no mode "draft").
        threads: of each.
        context: tokens that a library makes room for, where it wants to know.
    """
    peers, missing = [], {}
    for name in libraries:
        library, _, only = name.partition(" ")
        if library not in files:
            missing[library] = "no model that it reads"
            continue
        target, drafter = files[library]
        modes = [only] if only else [m for m in MODES[library] if m != "draft" or drafter]
        python = next((p for p in (*pythons, sys.executable) if _has(p, library)), None)
        if python is None:
            missing[library] = "not installed"
            continue
        for mode in modes:
            options = {
                "target": target,
                "drafter": drafter,
                "mode": mode,
                "threads": threads,
                "context": context,
                "scratch": str(cache_folder() / "openvino"),
            }
            try:
                peers.append(Peer(f"{library} {mode}", python, options))
            except RuntimeError as error:
                missing[f"{library} {mode}"] = str(error)
    return peers, missing


def files_for(
    target: str, drafters: Sequence[str], folders: Path, openvino_drafter: str | None = None
) -> dict[str, tuple[str, Any]]:
    """What each library is given: the GGUF files themselves, transformers the folders they came
    from (`folders` / name of the file). Its own drafter: the first of the target's family."""
    if not target.endswith(".gguf"):
        return {}
    family = Path(target).name.rsplit("-", 1)[0]  # qwen2.5-coder-1.5b.gguf: qwen2.5-coder
    same = [d for d in drafters if d.endswith(".gguf") and Path(d).name.startswith(family)]
    own = (target, same[0] if same else None)
    files: dict[str, tuple[str, Any]] = {
        "llama.cpp": own,
        "openvino": (target, openvino_drafter or own[1]),
    }
    folder = folders / Path(target).stem
    if folder.is_dir():
        drafting = [folders / Path(d).stem for d in (*same, *drafters)]
        known = [str(each) for each in drafting if each.is_dir()]
        files["transformers"] = (str(folder), known[0] if known else None)
    return files


def _has(python: str, library: str) -> bool:
    module = {"llama.cpp": "llama_cpp", "openvino": "openvino_genai"}.get(library, library)
    code = f"import importlib.util as u, sys; sys.exit(u.find_spec({module!r}) is None)"
    return subprocess.run([python, "-c", code], check=False).returncode == 0

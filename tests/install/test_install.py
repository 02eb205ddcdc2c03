"""The installed C++ package: find_package(anydraft) from a project that knows CXX alone."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import tokenizers

from anydraft import Vocabulary

ROOT = Path(__file__).resolve().parents[2]
CONSUMER = Path(__file__).resolve().parent / "consumer"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("cmake") is None, reason="no cmake"),
]


def run(*command: str | Path) -> str:
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def tokenizer() -> str:
    """A tokenizer.json of single letters."""
    alphabet = "abcdefghijklmnopqrstuvwxyz"
    inner = tokenizers.Tokenizer(tokenizers.models.BPE({c: i for i, c in enumerate(alphabet)}, []))
    inner.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = tokenizers.decoders.ByteLevel()
    text: str = inner.to_str()
    return text


@pytest.mark.parametrize("cuda", ["OFF", "AUTO"])
def test_consumer(tmp_path: Path, cuda: str) -> None:
    """AUTO is the CUDA build where nvcc is: its static library must bring the CUDA runtime."""
    build, prefix, user = tmp_path / "build", tmp_path / "prefix", tmp_path / "user"
    run(
        *("cmake", "-S", ROOT, "-B", build, f"-DANYDRAFT_CUDA={cuda}"),
        *("-DANYDRAFT_CUDA_ARCHITECTURES=90", f"-DCMAKE_INSTALL_PREFIX={prefix}"),
    )
    run("cmake", "--build", build, "--target", "anydraft", "-j2")
    run("cmake", "--install", build, "--component", "dev")
    (library,) = prefix.glob("lib*/libanydraft.a")
    assert b"8anydraft7testing" not in library.read_bytes()  # the enumerating backend
    # Built from a copy, so that nothing can be found beside the sources.
    shutil.copytree(CONSUMER, user)
    run("cmake", "-S", user, "-B", user / "build", f"-DCMAKE_PREFIX_PATH={prefix}")
    run("cmake", "--build", user / "build")

    version = re.search(r'^version = "(.+?)"', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert version is not None
    Vocabulary.from_json(tokenizer()).export(tmp_path / "letters.table")
    said = run(user / "build" / "consumer", tmp_path / "letters.table").splitlines()
    assert said[0] == version.group(1)
    assert said[2] == "(cancelled)"
    assert [len(text) for text in (said[1], *said[3:])] == [12, 14, 15]  # letters, as asked for

"""What a build from source builds, and an sdist that is installed without network."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
HAS_NVCC = shutil.which("nvcc") is not None or Path("/usr/local/cuda/bin/nvcc").exists()
needs_nvcc = pytest.mark.skipif(not HAS_NVCC, reason="no nvcc")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("cmake") is None, reason="no cmake"),
]


def environment(path: Path, **more: str) -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith("ANYDRAFT_")}
    kept.pop("CUDAARCHS", None)
    return {**kept, "PATH": f"{path}{os.pathsep}{kept['PATH']}", **more}


@pytest.mark.parametrize(
    ("gpus", "options", "built"),
    [
        (None, {}, "for CPU alone: nvidia-smi lists no GPU here"),
        ("7.5", {}, "for CPU alone: there is no GPU of compute capability 8.0"),
        ("9.0", {"CUDA": "OFF"}, "for CPU alone: ANYDRAFT_CUDA=OFF"),
        pytest.param(
            "9.0\n8.9\n9.0",
            {},
            "for CPU and CUDA 90-real;89-real, the GPUs of this machine",
            marks=needs_nvcc,
        ),
        pytest.param("8.9", {"CUDA_ARCHITECTURES": "90"}, "CUDA 90 (", marks=needs_nvcc),
        pytest.param(
            "9.0", {"CUDA_ARCHITECTURES": "all"}, "CUDA 80-real;90-real;100 (", marks=needs_nvcc
        ),
        pytest.param(
            None, {"CUDA": "ON"}, "CUDA 80-real;90-real;100, as nvidia-smi", marks=needs_nvcc
        ),
    ],
)
def test_one_line_says_what_is_built(
    tmp_path: Path, gpus: str | None, options: dict[str, str], built: str
) -> None:
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\n" + (f"echo '{gpus}'" if gpus else "exit 9") + "\n")
    tool.chmod(0o755)
    given = [f"-DANYDRAFT_{name}={value}" for name, value in options.items()]
    done = subprocess.run(
        ["cmake", "-S", ROOT, "-B", tmp_path / "build", *given],
        env=environment(tmp_path),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("-- anydraft ")]
    assert f"builds {built}" in line or built in line, line
    assert "ANYDRAFT_CUDA_ARCHITECTURES" in line  # and how to change it


def test_sdist_installs_offline(tmp_path: Path) -> None:
    pytest.importorskip("scikit_build_core")
    nowhere = environment(
        tmp_path,
        ANYDRAFT_CUDA="OFF",
        PIP_NO_INDEX="1",
        http_proxy="http://127.0.0.1:9",
        https_proxy="http://127.0.0.1:9",
    )

    def run(*command: str | Path, **more: str) -> str:
        done = subprocess.run(
            [sys.executable, *command],
            cwd=ROOT,
            env={**nowhere, **more},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    make = "import sys; from scikit_build_core.build import build_sdist as b; b(sys.argv[1])"
    run("-c", make, tmp_path)
    (sdist,) = tmp_path.glob("anydraft-*.tar.gz")
    site = tmp_path / "site"
    install = ["-m", "pip", "install", "--no-build-isolation", "--no-deps", "--target", str(site)]
    run(*install, sdist)
    (core,) = (site / "anydraft").glob("_core.*.so")
    assert b"N8anydraft7testing" not in core.read_bytes()  # the enumerating backend
    uses = (
        "import doctest, anydraft, anydraft.testing as t; print(anydraft.__file__);"
        "print(doctest.run_docstring_examples(t.output_distribution, vars(t)))"
    )
    said = run("-c", uses, PYTHONPATH=str(site))
    assert said.splitlines() == [str(site / "anydraft" / "__init__.py"), "None"]

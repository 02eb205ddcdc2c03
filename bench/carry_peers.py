"""Peers of the CUDA bench in a folder, for a machine with a GPU and no network: `.peers/`.

    python bench/carry_peers.py [FOLDER]        # needs pip and a network, and nvcc for FlashInfer

FlashInfer's package wants much that such a machine lacks, so its sampling kernels are compiled
here, from the headers in its wheel, into one library. Of vLLM's wheel (300 MB) only the Triton
kernels of its sampler are taken, with empty packages around them. Nothing of either belongs into a
commit: .peers/ is ignored. `tools/gpu.sh` uses the folder where it is there.
"""

import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PLATFORMS = ("any", "manylinux2014_x86_64", "manylinux_2_27_x86_64", "manylinux_2_28_x86_64")
VLLM = (
    "vllm/v1/spec_decode/fly.py",
    "vllm/v1/watermarking/prfs/base.py",
    "vllm/v1/watermarking/prfs/philox.py",
    "vllm/v1/worker/gpu/sample/gumbel.py",
    "vllm/v1/worker/gpu/sample/watermark.py",
    "vllm/v1/worker/gpu/spec_decode/rejection_sampler_utils.py",
)
TRITON = """import triton
import triton.language as tl
from triton.language.extra import libdevice as tldevice

HAS_TRITON = True
"""


def wheel(package, folder):
    """The package's newest wheel for Linux: its file and version."""
    platforms = [word for name in PLATFORMS for word in ("--platform", name)]
    options = ["-q", "--no-deps", "--only-binary", ":all:", "--python-version", "3.12", *platforms]
    pip = [sys.executable, "-m", "pip", "download", *options, "-d", str(folder), package]
    subprocess.run(pip, check=True)
    file = next(folder.glob(re.sub("[-_]+", "[-_]", package) + "-*.whl"))
    return zipfile.ZipFile(file), file.name.split("-")[1]


def flashinfer(target, folder):
    with tempfile.TemporaryDirectory() as scratch:
        headers = Path(scratch)
        package, version = wheel("flashinfer-python", folder)
        for name in package.namelist():
            if name.startswith("flashinfer/data/include/"):
                package.extract(name, headers)
        curand, _ = wheel("nvidia-curand", folder)
        curand.extractall(headers)
        includes = [headers / "flashinfer/data/include", next(headers.rglob("curand.h")).parent]
        library = target / "libflashinfer_sampling.so"
        subprocess.run(
            ["nvcc", "-std=c++17", "-O3", "-gencode", "arch=compute_90,code=sm_90", "-shared"]
            + ["-Xcompiler", "-fPIC", "--expt-relaxed-constexpr"]
            + [word for include in includes for word in ("-isystem", str(include))]
            + [str(ROOT / "bench/micro/flashinfer_shim.cu"), "-o", str(library)],
            check=True,
        )
        library.with_suffix(".version").write_text(version + "\n")


def vllm(target, folder):
    package, version = wheel("vllm", folder)
    for name in VLLM:
        package.extract(name, target)
        for parent in (target / name).parents:
            if parent == target:
                break
            (parent / "__init__.py").touch()
    (target / "vllm/__init__.py").write_text(f'__version__ = "{version}"\n')
    (target / "vllm/triton_utils").mkdir(exist_ok=True)
    (target / "vllm/triton_utils/__init__.py").write_text(TRITON)


def main():
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / ".peers"
    target.mkdir(parents=True, exist_ok=True)
    folder = target.parent / (target.name + "-wheels")
    failed = 0
    for peer in (flashinfer, vllm):
        folder.mkdir(exist_ok=True)
        try:
            peer(target, folder)
        except (OSError, StopIteration, KeyError, subprocess.CalledProcessError) as error:
            print(f"{peer.__name__}: {error}", file=sys.stderr)
            failed = 1
        shutil.rmtree(folder)
    size = sum(file.stat().st_size for file in target.rglob("*") if file.is_file())
    print(f"{target}: {size / 2**20:.1f} MiB")
    return failed


if __name__ == "__main__":
    sys.exit(main())

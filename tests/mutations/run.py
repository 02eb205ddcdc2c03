"""Faults put into a copy of the sources, one at a time: each must fail a test.

    python tests/mutations/run.py [--only WORD] [--copy FOLDER] [--report FILE]

Wanted: cmake, ninja, a compiler and what the tests need, in this Python's environment.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
COPIED = (
    "CMakeLists.txt",
    "pyproject.toml",
    "bench",
    "cpp",
    "cuda",
    "python",
    "tests",
    "third_party",
)
INVARIANCE = "tests/python/test_batch_invariance.py"
BATCHED = "tests/distributions/test_batched_distributions.py"
PENALTIES = "tests/distributions/test_penalty_distributions.py"
OPTIONS = "tests/python/test_request_options.py"
DRAFTER = "tests/python/test_drafter.py"
THREADS = "tests/python/test_threads.py"
ASYNC = "tests/python/test_async.py"
STATE = "cpp/src/engine/request_state.cpp"
ENGINE = "cpp/src/engine/engine.cpp"
CORE = "cpp/src/draft/drafter.cpp"


@dataclass(frozen=True)
class Mutation:
    """`old` stands in `file` once and becomes `new`; `tests` are to fail then."""

    name: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]


MUTATIONS = (
    Mutation(
        "the target's rows of a neighbour",
        ENGINE,
        "    row += feed.rows;\n  }\n  std::vector<Judgement*> trees",
        "    row += feed.rows > 1 ? feed.rows - 1 : 1;\n  }\n  std::vector<Judgement*> trees",
        (INVARIANCE,),
    ),
    Mutation(
        "the drafter's rows of a neighbour",
        CORE,
        "      row += feed.rows;\n    }\n    backend->begin",
        "      row += 0 * feed.rows;\n    }\n    backend->begin",
        (INVARIANCE,),
    ),
    Mutation(
        "verification uniforms shared by the requests of a seed",
        STATE,
        "request.uniforms.requests = &request_.random_stream;",
        "static const uint32_t none = 0;\n  request.uniforms.requests = &none;",
        (OPTIONS,),
    ),
    Mutation(
        "verification uniforms of the round before",
        STATE,
        "position_ = static_cast<uint32_t>(committed_.size());",
        "position_ = static_cast<uint32_t>(request_.prompt.size());",
        (BATCHED,),
    ),
    Mutation(
        "the verdict of the round before",
        "cpp/src/rows/cpu_backend.cpp",
        "      tree.result = random_->judge(tree.request);",
        "      if (tree.result.next_tokens.empty()) tree.result = random_->judge(tree.request);",
        (BATCHED,),
    ),
    Mutation(
        "settled with another path",
        STATE,
        "drafter_.settle(id_, committed_, path, &rows_);",
        "drafter_.settle(id_, committed_, {}, nullptr);",
        ("tests/python/test_session.py", INVARIANCE, BATCHED),
    ),
    Mutation(
        "the target's cache keeps slots of another path",
        STATE,
        "slots.push_back(text - 1 + node);",
        "slots.push_back(text + node);",
        (INVARIANCE,),
    ),
    Mutation(
        "a drafter's draft of the context before is proposed again",
        CORE,
        "  request.source->start(context, remaining);",
        "  if (request.context.size() != context.size()) {\n"
        "    request.source->start(context, remaining);\n  }",
        (DRAFTER,),
    ),
    Mutation(
        "a text that was cut keeps the drafter's tokens of the old one",
        "cpp/src/draft/feeder.cpp",
        "      told.size() <= committed.size() && std::equal(",
        "      told.size() <= committed.size() || std::equal(",
        (DRAFTER,),
    ),
    Mutation(
        "penalties see the text without the draft's path",
        STATE,
        "tree.path_to(node)) text",
        "tree.path_to(0)) text",
        (PENALTIES,),
    ),
    Mutation(
        "log-probabilities of the row behind",
        STATE,
        "i == 0 ? 0 : path[i - 1]",
        "i == 0 || i == path.size() ? 0 : path[i - 1]",
        (OPTIONS,),
    ),
    Mutation(
        "min_tokens is one short",
        "cpp/src/engine/logit_changes.cpp",
        "static_cast<int64_t>(text.size() - prompt) < changes.min_tokens",
        "static_cast<int64_t>(text.size() - prompt) + 1 < changes.min_tokens",
        (PENALTIES,),
    ),
    Mutation(
        "a thread leaves out the last chunk of its part of a row",
        "cpp/src/sampling/row_sums.cpp",
        "read_part(chunk + 1, end + 1, first, parts, keep);",
        "read_part(chunk + 1, end, first, parts, keep);",
        (THREADS,),
    ),
    Mutation(
        "masses by group of a row's first part alone",
        "cpp/src/rows/draft_rows.cpp",
        "sums[group] += sums[part * groups + group];",
        "sums[group] += 0 * part;",
        ("tests/distributions/test_slrs_distributions.py",),
    ),
    Mutation(
        "draft uniforms of one position for the whole text",
        "cpp/src/draft/bridge.cpp",
        "request.random_stream, position,",
        "request.random_stream, position - position,",
        ("tests/distributions/test_session_distribution.py", BATCHED),
    ),
    Mutation(
        "a request's last events are lost in step()",
        "python/anydraft/session.py",
        "        for handle in handles:\n            events +=",
        "        for handle in list(self._active.values()):\n            if handle.ended:\n"
        "                continue\n            events +=",
        (INVARIANCE,),
    ),
    Mutation(
        "a seeded text goes by what runs beside it",
        CORE,
        "  if (!request.by_load) together = 1;\n",
        "",
        ("tests/distributions/test_auto_distributions.py",),
    ),
    Mutation(
        "a cancelled stream keeps its caches",
        "python/anydraft/async_session.py",
        "            await asyncio.shield(self._in_thread(stream.handle.cancel))",
        "            await asyncio.shield(self._in_thread(lambda: None))",
        (ASYNC,),
    ),
    Mutation(
        "a slow reader's request goes on",
        "python/anydraft/async_session.py",
        "if not s.done and s.handle.pending < self._ahead]",
        "if not s.done]",
        (ASYNC,),
    ),
    Mutation(
        "a slow reader's request is in every round of the engine's thread",
        "python/anydraft/async_session.py",
        "if not (s.done or s.handle.error or s.held)]",
        "if not (s.done or s.handle.error)]",
        (ASYNC,),
    ),
)


def run(command: list[str], cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, cwd=cwd, env=os.environ | environment, capture_output=True, text=True, check=False
    )


def build(copy: Path) -> str | None:
    """What the build said where it failed."""
    made = run(["cmake", "--build", "build", "-j2", "--target", "_core", "_testing"], copy)
    return None if made.returncode == 0 else (made.stdout + made.stderr)[-3000:]


def configure(copy: Path) -> None:
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            ignored = shutil.ignore_patterns("__pycache__", "*.so", "mutations")
            shutil.copytree(source, copy / name, ignore=ignored)
        else:
            shutil.copy(source, copy / name)
    pybind = run([sys.executable, "-m", "pybind11", "--cmakedir"], copy).stdout.strip()
    options = ["-DCMAKE_BUILD_TYPE=None", "-DCMAKE_CXX_FLAGS=-O1", "-DANYDRAFT_CUDA=OFF"]
    options += ["-DANYDRAFT_PYTHON=ON", f"-Dpybind11_DIR={pybind}"]
    options += [f"-DPython_EXECUTABLE={sys.executable}"]
    made = run(["cmake", "-S", ".", "-B", "build", "-G", "Ninja", *options], copy)
    if failed := made.stderr if made.returncode != 0 else build(copy):
        sys.exit(f"The sources do not build as they are:\n{failed}")
    for module in (copy / "build").glob("_*.so"):
        (copy / "python" / "anydraft" / module.name).symlink_to(module)


def failing(copy: Path, tests: tuple[str, ...]) -> str | None:
    """The first test that fails; None: they pass."""
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *tests]
    try:
        told = subprocess.run(
            command,
            cwd=copy,
            env=os.environ | {"PYTHONPATH": str(copy / "python")},
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
    except subprocess.TimeoutExpired:
        return "(never ended)"
    lines = [line for line in told.stdout.splitlines() if line.startswith("FAILED")]
    failed = [line.removeprefix("FAILED ").split(" - ")[0] for line in lines]
    if failed:
        return failed[0].rpartition("/")[2]
    return None if told.returncode == 0 else "(crashed)"


def play(copy: Path, mutation: Mutation) -> str | None:
    """What failed with the mutation in place."""
    file = copy / mutation.file
    text = file.read_text()
    if text.count(mutation.old) != 1:
        sys.exit(
            f"{mutation.file}: expected once, found {text.count(mutation.old)} times:\n"
            f"{mutation.old}"
        )
    file.write_text(text.replace(mutation.old, mutation.new))
    try:
        return "(does not build)" if build(copy) else failing(copy, mutation.tests)
    finally:
        file.write_text(text)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--only", default="", help="mutations whose name has this in it")
    arguments.add_argument("--copy", type=Path, help="where the copy is to lie, and to stay")
    arguments.add_argument("--report", type=Path, help="where to write the table")
    options = arguments.parse_args()
    rows, survived = [], 0
    with tempfile.TemporaryDirectory() as folder:
        copy = (options.copy or Path(folder)).resolve()
        copy.mkdir(parents=True, exist_ok=True)
        if not (copy / "build").exists():
            configure(copy)
        for mutation in MUTATIONS:
            if options.only not in mutation.name:
                continue
            began = time.monotonic()
            failed = play(copy, mutation)
            survived += failed is None or failed == "(does not build)"
            rows.append(f"| {mutation.name} | {mutation.file} | {failed or '**none**'} |")
            print(rows[-1], f"{time.monotonic() - began:.0f} s", flush=True)
    if options.report:
        head = "# Mutations\n\nFaults put into the sources by `make test-mutations`, one at a time,"
        head += " and the first test that failed.\n\n| fault | file | failed |\n|---|---|---|\n"
        options.report.write_text(head + "\n".join(rows) + "\n")
    sys.exit(1 if survived else 0)


if __name__ == "__main__":
    main()

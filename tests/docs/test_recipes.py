"""The recipes of docs/extending, followed: applied to a copy of the sources, built, and exact.

The host's recipe needs no build; its page is played here and its texts' distribution compared.
"""

from __future__ import annotations

import itertools
import math
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.docs.pages import ROOT, blocks_of, edits_of

EXTENDING = ROOT / "docs" / "extending"
RECIPES = [EXTENDING / "verifier.md", EXTENDING / "bridge.md"]
SOURCES = (
    "CMakeLists.txt",
    "pyproject.toml",
    "cpp",
    "cuda",
    "python",
    "third_party",
    "bench/micro",
)


def apply(pages: list[Path], root: Path) -> None:
    for page in pages:
        for edit in edits_of(page):
            path = root / edit.file
            if edit.where == "new":
                assert not path.exists()
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(edit.code)
            else:
                path.write_text(edit.apply(path.read_text("utf-8")), "utf-8")


def copy_sources(root: Path) -> None:
    junk = shutil.ignore_patterns("__pycache__", "*.so")
    for name in SOURCES:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, root / name, ignore=junk)
        else:
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, root / name)
    shutil.copytree(ROOT / "tests", root / "tests", ignore=junk)


@pytest.mark.parametrize("page", RECIPES, ids=lambda page: page.stem)
def test_a_recipe_fits_the_sources(page: Path) -> None:
    """Every place it names is there, once; and it changes three files at most."""
    files: dict[str, str] = {}
    for edit in edits_of(page):
        if edit.where == "new":
            assert not (ROOT / edit.file).exists()
            files[edit.file] = edit.code
        else:
            source = files.get(edit.file) or (ROOT / edit.file).read_text("utf-8")
            files[edit.file] = edit.apply(source)
    assert 1 <= len(files) <= 3
    for name, source in files.items():
        if name.endswith(".py"):
            compile(source, name, "exec")


def run(command: list[str | Path], **options: Any) -> str:
    words = [str(word) for word in command]
    done = subprocess.run(words, capture_output=True, text=True, **options)
    assert done.returncode == 0, f"{words}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def changed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sources with both recipes applied, built without CUDA and hardly optimised."""
    pybind11 = pytest.importorskip("pybind11")
    if shutil.which("cmake") is None:
        pytest.skip("no cmake")
    root = tmp_path_factory.mktemp("changed")
    copy_sources(root)
    apply(RECIPES, root)
    generator = ["-G", "Ninja"] if shutil.which("ninja") else []
    run(
        [
            *("cmake", "-S", root, "-B", root / "build", *generator),
            *("-DANYDRAFT_CUDA=OFF", "-DANYDRAFT_PYTHON=ON", "-DCMAKE_BUILD_TYPE=None"),
            *("-DCMAKE_CXX_FLAGS=-O1", f"-Dpybind11_DIR={pybind11.get_cmake_dir()}"),
            f"-DPython_EXECUTABLE={sys.executable}",
        ]
    )
    run(["cmake", "--build", root / "build", "-j2", "--target", "_core", "_testing"])
    for module in (root / "build").glob("_*.so"):
        shutil.copy2(module, root / "python" / "anydraft")
    return root


def python(changed: Path, code: str) -> None:
    """Runs code with the changed package."""
    path = [changed / "python", changed, changed / "tests" / "python"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, path))}
    head = f"import anydraft; assert anydraft.__file__.startswith({str(changed)!r})\n"
    run([sys.executable, "-c", head + code], env=environment, cwd=changed)


@pytest.mark.slow
def test_the_new_verifier_is_lossless(changed: Path) -> None:
    """Exact, with every scheme, and round by round its reference's; without `reject` it is not."""
    python(
        changed,
        """
import pytest
from anydraft import verifiers
from tests.distributions import test_tree_distributions as trees
from tests.distributions.tables import PARAMS, adversarial_rows, random_rows
from tests.reference.first_draft import first_draft
from tests.reference.schemes import SCHEMES

[mine] = [info for info in verifiers() if info["name"] == "first_draft"]
for scheme in mine["proposals"].split(", "):
    for params in PARAMS.values():
        trees.test_random_rows("first_draft", scheme, params)
    for name in adversarial_rows(3, 1):
        trees.test_adversarial_rows("first_draft", scheme, name)
trees.VERIFIERS["first_draft"] = first_draft
for scheme in SCHEMES:
    trees.test_rounds_are_those_of_the_exact_reference("first_draft", scheme)
one, all_ = (
    trees.check(name, random_rows(0, 3, 2, 1.5), "2x2", "iid").accepted
    for name in ("first_draft", "top_down")
)
assert one < all_
trees.test_wrong_distributions_are_caught("first_draft", "without_replacement", "spechub")
""",
    )


@pytest.mark.slow
def test_the_new_bridge_is_lossless(changed: Path) -> None:
    """Whole sessions, exactly; and it drafts as slem does but for the last token."""
    python(
        changed,
        """
from tests.distributions.sessions import PAIRS, PLAIN, check, models
from toys import DRAFTER, TARGET, TableModel
from anydraft import SamplingParams, SpeculativeSession

kept = 0
for name in PAIRS:
    kept += check(*models(name), PLAIN, bridge="slem_short").accepted
    check(*models(name), PLAIN, tokens=2, bridge="slem_short", draft_sampling=PLAIN, widths=[2, 1])
assert kept > 0

def stats(bridge):
    session = SpeculativeSession(
        TableModel(TARGET, 1), TableModel(DRAFTER, 2), bridge=bridge, draft_confidence=0
    )
    told = session.generate([0, 1], sampling=SamplingParams(temperature=0, max_tokens=40))
    return told.tokens, told.stats

(text, short), (same, long) = stats("slem_short"), stats("slem")
assert text == same
assert 0 < short.drafted < long.drafted
""",
    )


def test_the_host_is_lossless() -> None:
    """The page's own texts, over many seeds, against the table that is its target."""
    torch = pytest.importorskip("torch")
    from anydraft import SamplingParams, probs
    from anydraft.testing import chi_square

    names: dict[str, Any] = {}
    for block in blocks_of(EXTENDING / "host.md"):
        if block.language == "python":
            exec(compile(block.code, block.name, "exec"), names)
    decode, table = names["decode"], names["tables"][0]
    rows = probs(table, SamplingParams(temperature=0.8)).double()
    expected = torch.tensor(
        [
            math.prod(rows[a, b].item() for a, b in itertools.pairwise((0, *text)))
            for text in itertools.product(range(4), repeat=3)
        ]
    )
    place = torch.tensor([16, 4, 1])
    runs = 4000
    for options in (
        {"draft_length": 2},
        {"tree": "2,1", "scheme": "spechub"},
        {"bridge": "slem"},
        {"verifier": "multipath", "tree": "3,1"},  # equal children are one node with several paths
    ):
        counts = torch.zeros(64, dtype=torch.int64)
        for first in range(0, runs, 500):
            seeds = range(first, first + 500)
            samplings = [SamplingParams(temperature=0.8, seed=seed) for seed in seeds]
            texts = torch.tensor(decode([[0]] * 500, samplings, 3, **options))
            counts += torch.bincount((texts[:, 1:] * place).sum(1), minlength=64)
        assert chi_square(counts, expected).p_value > 1e-4, options


def letters(merges: list[tuple[str, str]]) -> str:
    """A tokenizer.json of 96 tokens: printable letters and three merges."""
    tokenizers = pytest.importorskip("tokenizers")
    tokens = [chr(code) for code in range(33, 126)] + ["".join(pair) for pair in merges]
    vocab = {token: i for i, token in enumerate(tokens)}
    inner = tokenizers.Tokenizer(tokenizers.models.BPE(vocab, merges))
    inner.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(
        add_prefix_space=False, use_regex=False
    )
    inner.decoder = tokenizers.decoders.ByteLevel()
    return str(inner.to_str())


@pytest.mark.slow
def test_the_example_in_cpp(changed: Path, tmp_path: Path) -> None:
    """Built against the library, on two small models: plain decoding's text, in fewer calls."""
    pytest.importorskip("transformers")
    from native_toys import build

    from anydraft import SamplingParams, SpeculativeSession, Vocabulary, native

    compiler = shutil.which("g++") or shutil.which("clang++")
    program = tmp_path / "two_models"
    run(
        [
            *(str(compiler), "-std=c++17", "-O1", f"-I{changed / 'cpp' / 'include'}"),
            *(ROOT / "examples" / "two_models.cpp", changed / "build" / "libanydraft.a"),
            *("-lpthread", "-o", program),
        ]
    )
    build("llama", tmp_path / "model")
    merges = [("a", "b"), ("b", "c"), ("ab", "c")], [("b", "a"), ("c", "c"), ("a", "b")]
    target, drafter = (Vocabulary.from_json(letters(one)) for one in merges)
    target.export(tmp_path / "target.table")
    drafter.export(tmp_path / "drafter.table")
    said = run(
        [
            *(program, tmp_path / "model", tmp_path / "target.table"),
            *(tmp_path / "model", tmp_path / "drafter.table", "abcab"),
        ]
    )
    model = native.load(tmp_path / "model", vocabulary=target)
    greedy = SamplingParams(temperature=0, max_tokens=64)
    plain = SpeculativeSession(model, sampling=greedy).generate("abcab")
    text, told = said.rstrip("\n").rsplit("\n", 1)
    assert text == plain.text
    assert told.startswith(f"{len(plain.tokens)} tokens in ")
    assert int(told.split()[3]) <= len(plain.tokens)


@pytest.mark.parametrize("bridge", ["same", "slem"])
def test_the_drafter_by_itself_takes_any_bridge(bridge: str) -> None:
    """The guide's example, also where drafts are certain and have no logits."""
    pytest.importorskip("torch")
    names: dict[str, Any] = {"__name__": "page"}
    for block in blocks_of(ROOT / "docs" / "guides" / "async-and-drafter.md"):
        code = block.code.replace("draft_length=4", f'draft_length=4, bridge="{bridge}"')
        exec(compile(code, block.name, "exec"), names)
    assert names["drafts"].bridge == bridge
    assert (names["draft"].logits is None) == (bridge == "slem")

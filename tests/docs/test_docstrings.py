"""Examples of docstrings: every public name has one, and each runs; and the site's reference names
them all."""

from __future__ import annotations

import ast
import doctest
import importlib
import inspect
import re
from pathlib import Path
from typing import Any

import pytest

import anydraft
from tests.docs.pages import ROOT

pytest.importorskip("torch")
PACKAGE = ROOT / "python" / "anydraft"
NAMES = sorted(set(anydraft.__all__) - {"__version__"})
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def _texts(file: Path) -> dict[str, str]:
    """Docstrings by qualified name, those behind assignments and of stubs included."""
    found: dict[str, str] = {}

    def walk(node: Any, prefix: str) -> None:
        for before, one in zip([None, *node.body], node.body, strict=False):
            if isinstance(one, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                name = f"{prefix}{one.name}"
                if told := ast.get_docstring(one):
                    found[name] = told
                if isinstance(one, ast.ClassDef):
                    walk(one, f"{name}.")
            elif isinstance(before, ast.AnnAssign) and isinstance(one, ast.Expr):
                told = getattr(one.value, "value", None)
                if isinstance(told, str):
                    found[f"{prefix}{ast.unparse(before.target)}"] = inspect.cleandoc(told)

    tree = ast.parse(file.read_text("utf-8"))
    if told := ast.get_docstring(tree):
        found[""] = told
    walk(tree, "")
    return found


def _examples() -> dict[str, tuple[str, str]]:
    """(module, text) of the docstrings with examples, by place."""
    found = {}
    for file in sorted([*PACKAGE.rglob("*.py"), *PACKAGE.rglob("*.pyi")]):
        parts = file.relative_to(PACKAGE).with_suffix("").parts
        module = ".".join(("anydraft", *(part for part in parts if part != "__init__")))
        for name, text in _texts(file).items():
            if ">>> " in text:
                found[f"{module}:{name}"] = module, text
    return found


EXAMPLES = _examples()


def _module(name: str) -> Any:
    """The module; the test is skipped where a package that it needs is not installed."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] == "anydraft":
            raise
        pytest.skip(f"{name} needs {error.name}, which is not installed")


@pytest.mark.parametrize("place", EXAMPLES)
def test_an_example_runs(place: str) -> None:
    module, text = EXAMPLES[place]
    names = dict(vars(_module(module)))
    threads = anydraft.threads()
    parser, runner = doctest.DocTestParser(), doctest.DocTestRunner(optionflags=FLAGS)
    said: list[str] = []
    runner.run(parser.get_doctest(text, names, place, place, 0), out=said.append)
    anydraft.set_threads(threads)
    assert not runner.failures, "".join(said)


@pytest.mark.parametrize("name", NAMES)
def test_a_public_name_has_an_example(name: str) -> None:
    own = [place for place in EXAMPLES if place.partition(":")[2].split(".")[0] == name]
    assert own, f"{name} has no example"


def test_no_folder_is_left_out() -> None:
    """`hf.load` is on the reference's page, and its example was once wrong: nobody ran it."""
    assert "anydraft.hf.loading:load" in EXAMPLES
    assert {place.split(".")[1] for place in EXAMPLES} >= {"hf", "serve", "theory"}


def test_the_reference_names_every_public_name() -> None:
    pages = "".join(page.read_text() for page in (ROOT / "docs" / "reference").glob("*.md"))
    named = set(re.findall(r"^::: anydraft\.(?:penalties\.)?(\w+)$", pages, re.MULTILINE))
    errors = {name for name in NAMES if name.endswith("Error")}
    assert set(NAMES) - errors <= named
    assert "::: anydraft.errors" in pages


def test_a_wrong_example_is_seen() -> None:
    runner = doctest.DocTestRunner(optionflags=FLAGS)
    wrong = doctest.DocTestParser().get_doctest(">>> 1 + 1\n3\n", {}, "wrong", "wrong", 0)
    runner.run(wrong, out=lambda _: None)
    assert runner.failures == 1

"""The types of the native modules are those of their bindings."""

import ast
import importlib.util
from pathlib import Path

import pytest

pytest.importorskip("pybind11_stubgen")

ROOT = Path(__file__).parents[2]
_spec = importlib.util.spec_from_file_location("stubs", ROOT / "tools" / "stubs.py")
stubs = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(stubs)


@pytest.mark.parametrize("module", stubs.MODULES)
def test_stubs_are_up_to_date(module):
    """Else: `make stubs`. Formats aside."""
    committed = (ROOT / "python" / "anydraft" / f"{module}.pyi").read_text("utf-8")
    assert told(committed) == told(stubs.stub(module))


def told(text):
    """Its lines, without what a formatter changes."""
    lines = ast.unparse(ast.parse(text)).splitlines()
    return [line.strip() for line in lines if line.strip()]

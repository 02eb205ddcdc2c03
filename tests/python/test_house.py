"""How the sources are kept: no import circle, no long files."""

import ast
from graphlib import TopologicalSorter
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "python" / "anydraft"
GENERATED = {"unicode_tables.inc", "_core.pyi"}


def name_of(path):
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {name_of(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def imported(path):
    """Modules of the package that this one imports as it is loaded: not inside of functions, nor
    for type checkers alone."""
    found, waiting = set(), list(ast.parse(path.read_text()).body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            waiting += node.orelse
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                if inner in ("anydraft._core", "anydraft._testing"):  # built, not Python
                    continue
                found.add(inner if inner in MODULES else node.module)
        waiting += ast.iter_child_nodes(node)
    return found & MODULES.keys()


def test_no_module_imports_itself_by_way_of_others():
    graph = {name: imported(path) - {name} for name, path in MODULES.items()}
    assert sum(map(len, graph.values())) > 50  # the imports were seen
    assert list(TopologicalSorter(graph).static_order())  # raises CycleError, which names it


def test_files_are_short():
    """400 lines each, generated ones aside."""
    endings = ("*.h", "*.cpp", "*.cu", "*.cuh", "*.inc", "*.def", "*.py", "*.pyi")
    folders = [ROOT / name for name in ("cpp", "cuda", "python")]
    files = [path for folder in folders for end in endings for path in folder.rglob(end)]
    assert len(files) > 150
    lengths = {path: len(path.read_text().splitlines()) for path in files}
    long = {
        str(path.relative_to(ROOT)): length
        for path, length in lengths.items()
        if length > 400 and path.name not in GENERATED
    }
    assert long == {}

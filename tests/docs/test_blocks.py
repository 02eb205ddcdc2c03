"""Every block of README and docs: Python runs, commands are parsed, C++ compiles, links resolve."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from anydraft import cli
from tests.docs.pages import PAGES, ROOT, Block, blocks_of
from tests.docs.stand_ins import stand_ins

BLOCKS = [block for page in PAGES for block in blocks_of(page)]
PYTHON = {}
for _block in BLOCKS:
    if _block.language == "python" and not _block.edit:
        PYTHON.setdefault(_block.page, []).append(_block)
KNOWN = {"python", "sh", "cpp", "cmake", "text"}


def test_every_block_says_what_it_is() -> None:
    """A fence without a language would be run by nobody."""
    assert {block.language for block in BLOCKS} <= KNOWN
    reasons = [b.remark for b in BLOCKS if b.remark and not b.remark.startswith("figures")]
    assert all(re.fullmatch(r"stand-ins|not run: .{10,}", reason) for reason in reasons)


@pytest.mark.parametrize("page", PYTHON, ids=lambda page: str(page.relative_to(ROOT)))
def test_python_runs(page: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The blocks of a page in order, in one namespace, as a reader would paste them."""
    pytest.importorskip("torch")
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {"__name__": "page"}
    for block in PYTHON[page]:
        if block.remark.startswith("not run"):
            compile(block.code, block.name, "exec")
        elif block.remark == "stand-ins":
            with stand_ins(monkeypatch, tmp_path):
                run(block, names)
        else:
            run(block, names)


def run(block: Block, names: dict[str, object]) -> None:
    code = "\n" * (block.line - 1) + block.code  # so that a traceback has the page's lines
    exec(compile(code, str(block.page), "exec"), names)


def commands() -> list[tuple[str, str]]:
    """(place, command) of the lines in sh blocks, and of indented ones."""
    found = []
    for block in BLOCKS:
        if block.language == "sh":
            lines = block.code.replace("\\\n", " ").splitlines()
            found += [(f"{block.name}+{i}", line) for i, line in enumerate(lines) if line.strip()]
    for page in PAGES:
        if page.parent.name == "reference":  # indented there are options of mkdocstrings
            continue
        text = re.sub(r"^```.*?^```", "", page.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)
        where = str(page.relative_to(ROOT))
        found += [(where, line.strip()) for line in re.findall(r"^    \S.*$", text, re.MULTILINE)]
    parts = []
    for place, line in found:
        for part in re.split(r"&&|;|\|", line.split("  #")[0].split(" # ")[0]):
            if part.strip():
                parts.append((place, part.strip()))
    return parts


TARGETS = set(re.findall(r"^([a-z][\w-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE))
EXTRAS = set(re.findall(r"^(\w+) = \[", (ROOT / "pyproject.toml").read_text(), re.MULTILINE))
CMAKE_FLAGS = {"-S", "-B", "-G", "--build", "--target", "--install", "--component", "--prefix"}
OPTIONS = "".join(
    path.read_text() for path in (ROOT / "CMakeLists.txt", ROOT / "cuda" / "enable.cmake")
)


def check_command(command: str, place: str = "") -> None:
    words = shlex.split(command)
    while words and re.fullmatch(r"\w+=\S*", words[0]):
        words = words[1:]
    if not words or words[0].startswith("anydraft-") or command.startswith("anydraft 0"):
        return
    program, given = words[0], words[1:]
    if program == "anydraft":
        cli._parser().parse_args(given)  # exits with 2 where it does not know them
    elif program == "make":
        assert {word for word in given if "=" not in word} <= TARGETS
    elif program == "pip":
        for extra in re.findall(r"\[(.*?)\]", command):
            assert set(extra.split(",")) <= EXTRAS
        assert given[0] == "install"
    elif program == "cmake":
        assert {word for word in given if word.startswith("-") and "=" not in word} <= CMAKE_FLAGS
        for option in re.findall(r"-D(ANYDRAFT_\w+)=", command):
            assert option in OPTIONS
    elif program in {"python", "python3"}:
        module = Path(*given[1].split(".")).with_suffix(".py") if given[0] == "-m" else given[0]
        assert (ROOT / module).is_file()
    elif program == "curl" and place.startswith("docs/guides/serving.md"):  # tests/serve asks so
        assert given[0].endswith("/v1/completions")
        assert json.loads(given[given.index("-d") + 1]).keys() == {"model", "prompt", "max_tokens"}
    elif program in {
        "build/http/server",
        "curl",
        "apt-get",
    }:  # tests/install/test_cpp_server.py runs them
        assert place.startswith("docs/guides/cpp.md")
    else:
        assert program in {"ctest", "git"}, f"what is {program}?"


@pytest.mark.parametrize(("place", "command"), commands())
def test_commands_are_known(place: str, command: str) -> None:
    try:
        check_command(command, place)
    except SystemExit:
        pytest.fail(f"{place}: the command line does not take {command!r}")


def test_a_wrong_command_is_seen() -> None:
    for wrong in ("anydraft generate --target X --drafter Y --prompt p --bridge tly", "make tset"):
        with pytest.raises((SystemExit, AssertionError)):
            check_command(wrong)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    """Files that are linked or named are there."""
    text = page.read_text("utf-8")
    for link in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", text):
        if not link.startswith("http"):
            assert (page.parent / link).exists(), link
    for name in re.findall(r"`((?:cpp|cuda|tests|bench|examples|python)/[\w./-]+)`", text):
        new = any(block.edit and block.edit.file == name for block in BLOCKS)
        assert new or (ROOT / name).exists(), name
    for name in re.findall(r"bench/results/[\w./-]+\w", text):
        assert (ROOT / name).is_file(), name


@pytest.mark.parametrize("source", [*(ROOT / "examples").glob("*.cpp"), "guide"], ids=str)
def test_cpp_compiles(source: Path | str, tmp_path: Path) -> None:
    compiler = shutil.which("g++") or shutil.which("clang++")
    if compiler is None:
        pytest.skip("no C++ compiler")
    if isinstance(source, str):
        [block] = [b for b in BLOCKS if b.page.name == "cpp.md" and b.language == "cpp"]
        head, rest = block.code.split("\n\n", 1)
        given = (
            "anydraft::Logits run(const anydraft::Work&);\n"
            "void serve(std::shared_ptr<const anydraft::Vocabulary> target_vocabulary,\n"
            "  std::shared_ptr<const anydraft::Vocabulary> draft_vocabulary,\n"
            "  anydraft::EngineOptions options, anydraft::Request request) {\n"
        )
        source = tmp_path / "guide.cpp"
        source.write_text(f"{head}\n{given}{rest}\n(void)id;\n}}\n")
    command = [compiler, "-std=c++17", "-fsyntax-only", f"-I{ROOT / 'cpp' / 'include'}", source]
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_site_has_every_page() -> None:
    named = set(re.findall(r"([\w/-]+\.md)$", (ROOT / "mkdocs.yml").read_text(), re.MULTILINE))
    docs = ROOT / "docs"
    assert named == {str(page.relative_to(docs)) for page in docs.rglob("*.md")}


def test_every_fetched_package_has_its_licence_told() -> None:
    told = (ROOT / "docs" / "licences.md").read_text()
    sources = "".join(
        (ROOT / "bench" / name).read_text()
        for name in ("models.py", "vocabularies.py", "acceptance/prompts.py")
    )
    packages = set(re.findall(r'"([\w.-]+?)-?(?:part\{\})?==[\d.]+"', sources))
    packages |= set(re.findall(r'"([\w-]+)@[\d.]+"', sources))
    assert len(packages) > 10
    assert {name for name in packages if name not in told} == set()
    names = re.findall(r'^    "(\w+)": (?:_lenml|_gguf|Source)\(', sources, re.MULTILINE)
    assert {name for name in names if not re.search(rf"\b{name}\b", told)} == set()


def test_the_format_of_tables_is_the_present_one() -> None:
    sources = "".join(path.read_text() for path in (ROOT / "cpp" / "src" / "vocab").glob("*.h"))
    [version] = re.findall(r"kFileVersion = (\d+)", sources)
    for page in ("guides/python.md", "status.md"):
        assert f"format {version}" in " ".join((ROOT / "docs" / page).read_text().split())

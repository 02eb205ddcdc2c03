"""Figures of README and docs stand in the files that they name, or follow from them."""

from __future__ import annotations

import json
import re
import statistics
from pathlib import Path

import pytest

from bench.audit.report import markdown
from tests.docs.pages import PAGES, ROOT

README, PERFORMANCE = ROOT / "README.md", ROOT / "docs" / "performance.md"


def numbers(text: str) -> list[str]:
    """Decimal numbers as they are written; a range "14–19" has two, "up to 8" in words is one."""
    return re.findall(r"(?<![\w.])\d+(?:\.\d+)?(?![\w.]*\w)", text.replace(",", ""))


def stands_in(figure: str, file: Path) -> bool:
    """Whether a number of the file is this one, once rounded as it is."""
    decimals = len(figure.partition(".")[2])
    half = 0.5 * 10**-decimals * (1 + 1e-9)
    known = map(float, re.findall(r"\d+\.?\d*(?:[eE][-+]?\d+)?", _read(file)))
    return any(abs(value - float(figure)) <= half for value in known)


def _read(file: Path) -> str:
    return re.sub(r"(?<=\d),(?=\d{3})", "", file.read_text("utf-8"))


def readme_rows() -> list[tuple[str, str, list[str]]]:
    """(method of the file, file, figures) of the rows of the README's table."""
    table = README.read_text("utf-8").split("## Measured")[1].split("\n## ")[0]
    rows = [line for line in table.splitlines() if line.startswith("| ") and "tokens a" not in line]
    found = []
    for row in rows:
        first, *cells = [cell.strip() for cell in row.strip("|").split("|")]
        [(file, method)] = re.findall(r"<!-- (bench/results/\S+\.json): (.+) -->", first)
        found.append((method, file, [n for cell in cells for n in numbers(cell)]))
    return found


def performance_tables() -> list[tuple[str, list[str]]]:
    """(file, figures) of the tables that name a file; the first cell of a row is words."""
    text = PERFORMANCE.read_text("utf-8")
    tables = re.findall(r"<!-- figures: (\S+) -->\n\n((?:\|.*\n)+)", text)
    texts = re.findall(r"<!-- figures: (\S+) -->\n\n((?:[^|\n].*\n)+)", text)
    assert len(tables) + len(texts) == text.count("<!-- figures:")
    found = [(file, numbers(paragraph)) for file, paragraph in texts]
    for file, table in tables:
        rows = [line.strip("|").split("|") for line in table.splitlines()]
        rows = rows[2:]  # heading and rule
        cells = [cell for row in rows for cell in (row if len(rows) == 1 else row[1:])]
        words = r"top-k 50 and top-p 0\.95|top-p 0\.9|[VT] = [\d.]+"
        found.append((file, numbers(re.sub(words, "", " ".join(cells)))))
    return found


def named_in_passing() -> list[tuple[str, str, list[str]]]:
    """(place, file, figures) of the points of lists, on any page, that name a file of results."""
    found = []
    for page in PAGES:
        for point in re.findall(r"^- (?:.+\n)(?:  .+\n)*", page.read_text("utf-8"), re.MULTILINE):
            for file in re.findall(r"bench/results/[\w.-]+\w", point):
                figures = numbers(re.sub(r"\(?bench/\S+", "", point))
                found.append((str(page.relative_to(ROOT)), file, figures))
    return found


@pytest.mark.parametrize(("place", "file", "figures"), named_in_passing())
def test_lists(place: str, file: str, figures: list[str]) -> None:
    assert figures
    assert [figure for figure in figures if not stands_in(figure, ROOT / file)] == []


def table_behind(words: str) -> list[list[str]]:
    """Rows of the first table of the performance page behind these words."""
    table = PERFORMANCE.read_text("utf-8").split(words)[1].split("\n\n")[1]
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in table.splitlines()]


def test_nats_are_means_and_errors_of_the_file() -> None:
    file = ROOT / "bench" / "results" / "e2e-2026-11-21-sampled-distribution.json"
    nats = json.loads(file.read_text())["nats"]
    names, _, figures = table_behind("mean and its error):")
    for name, figure in zip(names, figures, strict=True):
        told, error = figure.split(" ± ")
        decimals = len(told.partition(".")[2])
        assert float(told) == round(statistics.mean(nats[name]), decimals)
        deviation = statistics.stdev(nats[name]) / len(nats[name]) ** 0.5
        assert float(error) == round(deviation, decimals)


def test_trees_are_ranges_of_the_file() -> None:
    file = ROOT / "bench" / "results" / "verify-trees-2026-11-21.json"
    results = json.loads(file.read_text())["results"]
    for name, bare, torch in table_behind("(bench/results/verify-trees-2026-11-21.json):")[2:]:
        mine = [one for one in results if one["verifier"] == name.strip("`")]
        ratios = [one["torch"] / one["ours"] for one in mine]
        for told, known in ((bare, [one["of_bare"] for one in mine]), (torch, ratios)):
            for figure, value in zip(numbers(told), (min(known), max(known)), strict=True):
                assert float(figure) == round(value, len(figure.partition(".")[2]))


@pytest.mark.parametrize(("method", "file", "figures"), readme_rows())
def test_readme(method: str, file: str, figures: list[str]) -> None:
    row = json.loads((ROOT / file).read_text())["methods"][method]
    known = [row["tokens_per_second"], row["over_plain"], row["over_llamacpp"]]
    for figure, value in zip(figures, known, strict=True):
        assert abs(float(figure) - value) <= 0.5 * 10 ** -len(figure.partition(".")[2]) + 1e-9


def test_the_audit_is_that_of_its_file() -> None:
    """The page's table, the file's, and the numbers behind it."""
    results = ROOT / "bench" / "results"
    page, file = ROOT / "docs" / "status" / "audit.md", results / "audit-2026-11-28.md"
    tables = [
        [line for line in text.read_text().splitlines() if line.startswith("|")]
        for text in (page, file)
    ]
    assert tables[0] == tables[1] and len(tables[0]) > 20
    told = json.loads(file.with_suffix(".json").read_text())
    assert markdown(told) == file.read_text()
    for one in told["results"]:
        caught = one["verdict"] == "wrong"
        assert caught == (min(one["p_values"].values()) < 1e-6)
        assert caught or one["claim"] != "wrong"  # what is wrong on purpose must be seen
        assert not (caught and one["package"] == "anydraft" and one["claim"] == "lossless")


def test_the_readme_has_a_table() -> None:
    assert len(readme_rows()) >= 5


@pytest.mark.parametrize(("file", "figures"), performance_tables())
def test_performance(file: str, figures: list[str]) -> None:
    assert figures
    assert [figure for figure in figures if not stands_in(figure, ROOT / file)] == []


def test_a_wrong_figure_is_seen() -> None:
    file = ROOT / "bench" / "results" / "e2e-2026-11-21-universal.md"
    assert stands_in("1.86", file)
    assert not stands_in("1.87", file)


def test_readme_is_one_screen() -> None:
    assert len(README.read_text("utf-8").splitlines()) <= 120

"""Consistency of the documentation with settings, codes, targets and files."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from handler.errors import HandlerError
from handler.settings import (
    PREFIX,
    SHARED,
    VARIABLES,
    EngineSettings,
    HandlerSettings,
)
from server import environment

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = (
    "bench",
    "container",
    "deploy",
    "frontend",
    "handler",
    "handler/engine",
    "handler/postprocess",
    "handler/preprocess",
    "handler/sandbox",
    "mini",
    "model-store",
    "samples",
    "server",
    "tests",
    "tools",
)
TOP_FOLDERS = {folder.partition("/")[0] for folder in FOLDERS}
DOCUMENTS = sorted(
    [
        *ROOT.glob("*.md"),
        *(md for name in TOP_FOLDERS for md in (ROOT / name).rglob("*.md")),
    ]
)
# Test data is not documentation.
DOCUMENTS = [path for path in DOCUMENTS if path.parent.name != "data"]
DOCUMENTS_WITH_DECISIONS = [
    path for path in DOCUMENTS if "\n## Decisions\n" in path.read_text()
]
# Targets are words after `make` in code: between backquotes or after a prompt.
MAKE = re.compile(r"(?:`|^\$ |^ {4})make((?: [a-z][a-z-]*)+)", re.MULTILINE)
LINK = re.compile(r"(?<!!)\[[^\]]+\]\(([^)\s]+)\)")
PICTURE = re.compile(r"!\[[^\]]*\]\(([^)\s]+)\)")
WARNING = re.compile(r"\bPageWarning\(\s*\"(\w+)\"")
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
ANCHOR = re.compile(r'<a id="([^"]+)"></a>')
FENCED = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
DECISION = re.compile(r"^- \*\*(\d{4}-\d{2}-\d{2})\. ", re.MULTILINE)


def relative_path(path: Path) -> str:
    return str(path.relative_to(ROOT))


def read_table(document: Path, heading: str) -> Iterator[list[str]]:
    """Yield the cells of the table below a heading, without its header."""
    section = document.read_text().partition(f"\n## {heading}\n")[2]
    table = section.partition("\n## ")[0]
    lines = [line for line in table.splitlines() if line.startswith("|")]
    for line in lines[2:]:
        yield [cell.strip() for cell in line.strip("|").split("|")]


def read_make_targets() -> dict[str, bool]:
    """Return the Makefile's public targets, with True if it describes them."""
    text = (ROOT / "Makefile").read_text()
    phony_line = re.search(r"^\.PHONY: (.*)$", text, re.MULTILINE)
    assert phony_line is not None
    return {
        name: re.search(rf"^{name}:.*## \S", text, re.MULTILINE) is not None
        for name in phony_line[1].split()
    }


def find_mentioned_targets(document: Path) -> set[str]:
    return {
        target
        for match in MAKE.findall(document.read_text())
        for target in match.split()
    }


@pytest.mark.parametrize("folder", FOLDERS)
def test_every_code_folder_has_a_readme(folder):
    assert (ROOT / folder / "README.md").is_file()


@pytest.mark.parametrize("document", DOCUMENTS_WITH_DECISIONS, ids=relative_path)
def test_decisions_come_last_and_newest_first(document):
    before, _, decisions = document.read_text().partition("\n## Decisions\n")

    assert "\n## " not in decisions
    assert not DECISION.search(before)
    dates = DECISION.findall(decisions)
    assert dates
    assert dates == sorted(dates, reverse=True)


@pytest.mark.parametrize("document", DOCUMENTS, ids=relative_path)
def test_relative_links_have_targets(document):
    text = document.read_text()

    for link in LINK.findall(text) + PICTURE.findall(text):
        if not re.match(r"[a-z]+:|#", link):
            assert (document.parent / link.partition("#")[0]).exists(), link


def find_anchors(document: Path) -> set[str]:
    """Return the anchors that GitHub gives the headings of a document, and its own."""
    text = FENCED.sub("", document.read_text())
    words = (
        re.sub(r"[^\w\- ]", "", heading.lower()) for heading in HEADING.findall(text)
    )
    return {*(word.replace(" ", "-") for word in words), *ANCHOR.findall(text)}


@pytest.mark.parametrize("document", DOCUMENTS, ids=relative_path)
def test_links_to_headings_have_targets(document):
    for link in LINK.findall(FENCED.sub("", document.read_text())):
        path, _, anchor = link.partition("#")
        target = document.parent / path if path else document
        if anchor and ":" not in path and target.suffix == ".md":
            assert anchor in find_anchors(target), link


@pytest.mark.parametrize("document", DOCUMENTS, ids=relative_path)
def test_mentioned_make_targets_exist(document):
    assert find_mentioned_targets(document) <= read_make_targets().keys()


def test_every_target_is_described_in_the_makefile():
    assert all(read_make_targets().values())


def test_every_target_is_mentioned_in_a_document():
    mentioned = set().union(*map(find_mentioned_targets, DOCUMENTS))

    assert read_make_targets().keys() <= mentioned


def format_default(value: object) -> str:
    return str(value).lower() if isinstance(value, bool | None) else str(value)


def test_table_of_settings_matches_the_code():
    short_names = {name: variable for variable, name in VARIABLES.items()}
    expected = [
        [
            f"`{field.name}`",
            format_default(field.default),
            f"`{short_names.get(field.name, PREFIX + field.name.upper())}`",
        ]
        for cls in (HandlerSettings, EngineSettings)
        for field in dataclasses.fields(cls)
        if cls is HandlerSettings or field.name not in SHARED
    ]

    table = list(read_table(ROOT / "handler" / "README.md", "Settings"))

    assert [row[:3] for row in table] == expected
    assert all(len(row) == 4 and row[3] for row in table)


def test_table_of_container_variables_matches_the_code():
    table = read_table(ROOT / "container" / "README.md", "Environment variables")

    assert {name.strip("`"): default for name, default, _ in table} == (
        environment.VARIABLES
    )


def test_table_of_errors_matches_the_code():
    def iterate_subclasses(cls: type[HandlerError]) -> Iterator[type[HandlerError]]:
        yield cls
        for child in cls.__subclasses__():
            yield from iterate_subclasses(child)

    table = [
        (code.strip("`"), int(status))
        for code, status, _ in read_table(ROOT / "handler" / "README.md", "Errors")
    ]

    assert sorted(table) == sorted(
        (c.code, c.status) for c in iterate_subclasses(HandlerError)
    )


def test_table_of_warnings_matches_the_code():
    sources = [path.read_text() for path in (ROOT / "handler").rglob("*.py")]
    codes = {code for source in sources for code in WARNING.findall(source)}

    table = list(read_table(ROOT / "handler" / "README.md", "Warnings"))

    assert [row[0].strip("`") for row in table] == sorted(codes)
    assert all(len(row) == 3 and all(row) for row in table)


def test_openapi_lists_all_warning_codes():
    contract = (ROOT / "handler" / "openapi.yaml").read_text()
    enum = re.search(r"\n    PageWarning:\n.*?enum:\n((?: +- \w+\n)+)", contract, re.S)

    assert enum is not None
    assert re.findall(r"- (\w+)", enum[1]) == [
        row[0].strip("`")
        for row in read_table(ROOT / "handler" / "README.md", "Warnings")
    ]

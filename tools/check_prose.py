"""Lint of the English in docstrings, comments, messages and names.

`make lint` runs it. It reports the symptoms that `Kind` lists and fails on new ones:
`tools/prose_baseline.json` holds how many of each kind a file had when the check was
introduced, and it may have no more. `--update` lowers the baseline to what is left; it
never raises a number. `--summary` prints figures per top-level folder, and
`--against REVISION` puts those of another commit beside them.

The script cannot tell whether a sentence is clear. CONTRIBUTING.md has the rules.
"""

from __future__ import annotations

import argparse
import ast
import enum
import io
import json
import re
import subprocess
import sys
import tarfile
import tokenize
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

BASELINE = Path("tools/prose_baseline.json")
UPDATE = "python -m tools.check_prose --update"

MAX_TEST_NAME = 70
GOOD_TEST_NAME = 60

# A string literal with fewer words is a key, a path or a word, and not a message.
MIN_MESSAGE_WORDS = 3
TEXT_SUFFIXES = {".cfg", ".java", ".md", ".properties", ".toml", ".yaml", ".yml"}
TEXT_NAMES = {"Dockerfile", "Makefile"}
# Recorded output, and text that models read or write: its words are not ours.
DATA = re.compile(r"(^|/)(data|results)/|^(model-store|samples)/.*\.(json|yaml)$")

PREPOSITIONS = (
    "of|in|on|at|by|for|from|with|without|to|as|into|onto|over|under|between|after|"
    "before|until|since|against|beside|besides|through|throughout|during|per|about|"
    "above|below|behind|within|among|upon|via|across|along|around|beyond|despite|"
    "except|inside|outside|towards"
)
PRONOUNS = (
    "it|its|they|them|their|he|his|she|her|we|us|our|you|your|i|this|that|these|those|"
    "one|none|both|each|either|neither|all|any|some|such|here|there|others|nothing|"
    "nobody|everything|everyone|everybody|anyone|anything|anybody|somebody|someone|"
    "something|whoever|whatever|whichever|wherever"
)
QUESTION_WORDS = "who|whom|whose|what|which|when|where|why|how|whether"
OPENING = re.compile(f"{PREPOSITIONS}|{PRONOUNS}|{QUESTION_WORDS}", re.IGNORECASE)
RIDDLE = re.compile(
    r"\b(whoever|whatever|nobody|somebody|whom|wherever|whichever)\b", re.IGNORECASE
)
NAMES = frozenset(
    ("found", "wanted", "said", "written", "stored", "either", "asked", "carried_out")
)

# "In-memory" and "One-shot" are adjectives, and an opening in quotes is a value.
FIRST_WORD = re.compile(r"[\s*_(]*([A-Za-z]+)(?![\w'-])")
QUOTED = re.compile(
    r"```.*?```|``.+?``|`[^`]+`|\"[^\"]+\"|“[^”]+”|(?<!\w)'[^'\n]+'(?!\w)", re.DOTALL
)


class Kind(enum.Enum):
    """Kind of a symptom: its key in the baseline, and what to write instead."""

    OPENING = "opening"
    RIDDLE = "riddle"
    FUNCTION = "function"
    VARIABLE = "variable"
    LONG_TEST = "long_test"

    @property
    def advice(self) -> str:
        return _ADVICE[self]


_ADVICE = {
    Kind.OPENING: "open a function with an imperative ('Return the key of a page'), "
    "a class or module with a noun phrase ('Key of a page')",
    Kind.RIDDLE: "name who or what is meant: the client, the caller, the value",
    Kind.FUNCTION: "name a function by a verb (find_pages), a module by its subject",
    Kind.VARIABLE: "name a variable after what it holds (pages, response)",
    Kind.LONG_TEST: f"state one behaviour in at most {GOOD_TEST_NAME} letters",
}


@dataclass(frozen=True)
class Symptom:
    """Place in a file that breaks a rule."""

    path: str
    line: int
    kind: Kind
    text: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.text}: {self.kind.advice}"


@dataclass
class Report:
    """Symptoms and sizes of some files."""

    symptoms: list[Symptom] = field(default_factory=list)
    num_docstrings: int = 0
    num_of: int = 0
    num_comments: int = 0
    num_tests: int = 0
    num_over_good_length: int = 0

    def count(self, kind: Kind) -> int:
        """Return how many symptoms of one kind there are."""
        return sum(symptom.kind is kind for symptom in self.symptoms)

    def add(self, other: Report) -> None:
        """Add the figures of other files to these."""
        self.symptoms += other.symptoms
        self.num_docstrings += other.num_docstrings
        self.num_of += other.num_of
        self.num_comments += other.num_comments
        self.num_tests += other.num_tests
        self.num_over_good_length += other.num_over_good_length


def inspect(path: str, text: str) -> Report:
    """Return the report of one file; its suffix decides what in it is prose."""
    if path.endswith(".py"):
        return _Module(path, text).inspect()
    return Report(list(_find_riddles(path, text, 1)))


class _Module:
    """Python module whose docstrings, comments, messages and names are checked."""

    def __init__(self, path: str, text: str):
        self.path = path
        self.text = text
        self.is_test = path.startswith("tests/")
        self.report = Report()

    def inspect(self) -> Report:
        tree = ast.parse(self.text)
        docstrings: set[ast.AST] = set()
        for node in ast.walk(tree):
            self._check_docstring(node, docstrings)
            self._check_names(node)
            self._check_test_name(node)
        for node, text in _messages(tree, docstrings, self.is_test):
            self._add_riddles(text, node.lineno)
        self._check_comments()
        if Path(self.path).stem in NAMES:
            self._add(1, Kind.FUNCTION, f'module "{Path(self.path).stem}"')
        self.report.symptoms.sort(key=lambda symptom: symptom.line)
        return self.report

    def _add(self, line: int, kind: Kind, text: str) -> None:
        self.report.symptoms.append(Symptom(self.path, line, kind, text))

    def _add_riddles(self, text: str, line: int) -> None:
        self.report.symptoms += _find_riddles(self.path, text, line)

    def _check_docstring(self, node: ast.AST, docstrings: set[ast.AST]) -> None:
        if not isinstance(
            node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Module
        ):
            return
        docstring = ast.get_docstring(node, clean=False)
        if not docstring:
            return
        statement = node.body[0]
        assert isinstance(statement, ast.Expr)
        docstrings.add(statement.value)
        self.report.num_docstrings += 1
        self._add_riddles(docstring, statement.lineno)
        match = FIRST_WORD.match(docstring)
        word = match[1] if match else ""
        # US is a country.
        if OPENING.fullmatch(word) and word != "US":
            self.report.num_of += word == "Of"
            self._add(statement.lineno, Kind.OPENING, f'docstring opens with "{word}"')

    def _check_names(self, node: ast.AST) -> None:
        name: str | None = None
        kind = Kind.VARIABLE
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                kind = Kind.FUNCTION
            case ast.Name(id=name, ctx=ast.Store()) | ast.arg(arg=name):
                pass
            case ast.Attribute(attr=name, ctx=ast.Store()) | ast.alias(asname=name):
                pass
        if name is not None and name.strip("_") in NAMES:
            line = getattr(node, "lineno", 1)
            self._add(line, kind, f'{kind.value} "{name}"')

    def _check_test_name(self, node: ast.AST) -> None:
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
            length = len(node.name)
            self.report.num_tests += 1
            self.report.num_over_good_length += length > GOOD_TEST_NAME
            if length > MAX_TEST_NAME:
                text = f"{node.name} has {length} letters"
                self._add(node.lineno, Kind.LONG_TEST, text)

    def _check_comments(self) -> None:
        for token in tokenize.generate_tokens(io.StringIO(self.text).readline):
            if token.type == tokenize.COMMENT:
                self.report.num_comments += 1
                self._add_riddles(token.string, token.start[0])


def _find_riddles(path: str, text: str, first_line: int) -> Iterator[Symptom]:
    blanked = QUOTED.sub(lambda quoted: re.sub(r"[^\n]", " ", quoted[0]), text)
    for match in RIDDLE.finditer(blanked):
        line = first_line + blanked.count("\n", 0, match.start())
        yield Symptom(path, line, Kind.RIDDLE, f'"{match[1]}"')


def _messages(
    tree: ast.AST, docstrings: set[ast.AST], is_test: bool
) -> Iterator[tuple[ast.expr, str]]:
    """Yield the string literals that a person reads.

    In tests, these are the messages of failures and skips; other strings are test data.
    """
    roots: Sequence[ast.AST] = [tree]
    if is_test:
        roots = [part for node in ast.walk(tree) for part in _parts_for_people(node)]
    for root in roots:
        parts: set[ast.AST] = set()
        for node in ast.walk(root):
            text = ""
            if isinstance(node, ast.JoinedStr):
                parts |= set(node.values)
                text = "{}".join(
                    part.value
                    for part in node.values
                    if isinstance(part, ast.Constant) and isinstance(part.value, str)
                )
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                text = "" if node in docstrings or node in parts else node.value
            if len(text.split()) >= MIN_MESSAGE_WORDS:
                assert isinstance(node, ast.expr)
                yield node, text


def _parts_for_people(node: ast.AST) -> list[ast.expr]:
    """Return the parts of a statement of a test that hold a message."""
    match node:
        case ast.Assert(msg=ast.expr() as message):
            return [message]
        case ast.Raise(exc=ast.Call(args=arguments)):
            return arguments
        case ast.Call(func=ast.Attribute(attr="fail" | "skip"), args=arguments):
            return arguments
        case ast.keyword(arg="reason", value=reason):
            return [reason]
    return []


def _is_checked(path: str) -> bool:
    name = Path(path)
    is_prose = name.suffix in TEXT_SUFFIXES or name.name in TEXT_NAMES
    return name.suffix == ".py" or (is_prose and not DATA.search(path))


def _read_work_tree() -> dict[str, str]:
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    paths = sorted({name for name in names.split("\0") if _is_checked(name)})
    return {path: Path(path).read_text() for path in paths if Path(path).is_file()}


def _read_revision(revision: str) -> dict[str, str]:
    command = ["git", "archive", "--format=tar", revision]
    archive = subprocess.run(command, check=True, capture_output=True).stdout
    files: dict[str, str] = {}
    with tarfile.open(fileobj=io.BytesIO(archive)) as members:
        for member in members:
            content = members.extractfile(member) if member.isfile() else None
            if content is not None and _is_checked(member.name):
                files[member.name] = content.read().decode()
    return files


Baseline = Mapping[str, Mapping[str, int]]
Reports = Mapping[str, Report]


def count_symptoms(reports: Reports) -> dict[str, dict[str, int]]:
    """Return the counts per file and kind, without zeros: the form of the baseline."""
    counts: dict[str, dict[str, int]] = {}
    for path, report in reports.items():
        kinds = Counter(symptom.kind.value for symptom in report.symptoms)
        if kinds:
            counts[path] = dict(sorted(kinds.items()))
    return counts


def find_new_symptoms(reports: Reports, baseline: Baseline) -> list[Symptom]:
    """Return the symptoms of each file and kind that exceed the baseline.

    All symptoms of the kind in the file are returned, as old and new look the same.
    """
    new: list[Symptom] = []
    for path, report in reports.items():
        for kind in Kind:
            if report.count(kind) > baseline.get(path, {}).get(kind.value, 0):
                new += [symptom for symptom in report.symptoms if symptom.kind is kind]
    return new


def lower_baseline(counts: Baseline, baseline: Baseline) -> dict[str, dict[str, int]]:
    """Return the baseline with every number lowered to the count, none raised."""
    lowered: dict[str, dict[str, int]] = {}
    for path, kinds in sorted(baseline.items()):
        left = {
            kind: min(number, counts.get(path, {}).get(kind, 0))
            for kind, number in kinds.items()
        }
        if any(left.values()):
            lowered[path] = {kind: number for kind, number in left.items() if number}
    return lowered


def check(reports: Reports, baseline: Baseline) -> tuple[list[str], bool]:
    """Return the lines to print, and whether the files pass."""
    new = find_new_symptoms(reports, baseline)
    lines = [str(symptom) for symptom in new]
    if new:
        files = len({symptom.path for symptom in new})
        lines.append(f"{files} files have more symptoms than {BASELINE} allows")
    counts = count_symptoms(reports)
    for path, kinds in baseline.items():
        for kind, number in kinds.items():
            left = counts.get(path, {}).get(kind, 0)
            if left < number:
                lines.append(
                    f"{path}: {kind} is down from {number} to {left}; "
                    f"lower the baseline with {UPDATE}"
                )
    num_over = sum(report.num_over_good_length for report in reports.values())
    if num_over:
        lines.append(f"note: {num_over} test names above {GOOD_TEST_NAME} letters")
    return lines, not new


def summarise(reports: Reports) -> dict[str, Report]:
    """Return one report per top-level folder, then the total."""
    folders: dict[str, Report] = {}
    total = Report()
    for path, report in reports.items():
        folder = path.partition("/")[0] if "/" in path else "."
        folders.setdefault(folder, Report()).add(report)
        total.add(report)
    return {**dict(sorted(folders.items())), "total": total}


def _figures(report: Report) -> list[str]:
    openings = report.count(Kind.OPENING)
    share = openings / report.num_docstrings if report.num_docstrings else 0.0
    return [
        f"{report.num_docstrings}",
        f"{openings}",
        f"{share:.1%}",
        f"{report.num_of}",
        f"{report.count(Kind.RIDDLE)}",
        f"{report.count(Kind.FUNCTION)}",
        f"{report.count(Kind.VARIABLE)}",
        f"{report.num_comments}",
        f"{report.num_tests}",
        f"{report.count(Kind.LONG_TEST)}",
        f"{report.num_over_good_length}",
    ]


HEADINGS = ["docstrings", "openings", "share", "Of", "riddles", "functions"]
HEADINGS += ["variables", "comments", "tests"]
HEADINGS += [f">{MAX_TEST_NAME}", f">{GOOD_TEST_NAME}"]


def print_summary(now: Mapping[str, Report], before: Mapping[str, Report]) -> None:
    """Print one row per folder; a cell reads "before > now" if there is a before."""
    rows = [["folder", *HEADINGS]]
    for folder, report in now.items():
        cells = _figures(report)
        if before:
            old = _figures(before.get(folder, Report()))
            cells = [f"{a} > {b}" for a, b in zip(old, cells, strict=True)]
        rows.append([folder, *cells])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        padded = [cell.rjust(width) for cell, width in zip(row, widths, strict=True)]
        print("  ".join([row[0].ljust(widths[0]), *padded[1:]]))


def main(arguments: Sequence[str] | None = None) -> int:
    """Check the working tree, update the baseline or print the summary.

    Runs in the root of the repository. Returns 1 if a file has new symptoms.
    """
    parser = argparse.ArgumentParser(prog="python -m tools.check_prose")
    parser.add_argument(
        "--update", action="store_true", help="lower the baseline to what is left"
    )
    parser.add_argument(
        "--summary", action="store_true", help="print figures per top-level folder"
    )
    parser.add_argument(
        "--against", metavar="REVISION", help="with --summary: compare with a commit"
    )
    options = parser.parse_args(arguments)
    reports = _inspect_all(_read_work_tree())
    if options.summary:
        before: Reports = {}
        if options.against:
            before = summarise(_inspect_all(_read_revision(options.against)))
        print_summary(summarise(reports), before)
        return 0
    counts = count_symptoms(reports)
    baseline = json.loads(BASELINE.read_text()) if BASELINE.exists() else counts
    if options.update:
        lowered = lower_baseline(counts, baseline)
        BASELINE.write_text(_format_baseline(lowered))
        return 0
    lines, passes = check(reports, baseline)
    for line in lines:
        print(line)
    return 0 if passes else 1


def _format_baseline(baseline: Baseline) -> str:
    """Return the baseline as JSON with one line per file."""
    lines = [f"{json.dumps(path)}: {json.dumps(baseline[path])}" for path in baseline]
    return "{\n" + ",\n".join(lines) + "\n}\n"


def _inspect_all(files: Mapping[str, str]) -> dict[str, Report]:
    return {path: inspect(path, text) for path, text in files.items()}


if __name__ == "__main__":
    sys.exit(main())

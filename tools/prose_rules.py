"""Rules for the English in docstrings, comments, messages and names.

`inspect` reports the symptoms that `Kind` lists. It cannot tell whether a sentence is
clear. CONTRIBUTING.md has the rules.
"""

from __future__ import annotations

import ast
import enum
import io
import re
import tokenize
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

__all__ = [
    "GOOD_TEST_NAME",
    "MAX_TEST_NAME",
    "Kind",
    "Report",
    "Symptom",
    "inspect",
]

MAX_TEST_NAME = 70
GOOD_TEST_NAME = 60

# A string literal with fewer words is a key, a path or a word, and not a message.
MIN_MESSAGE_WORDS = 3
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
UNCLEAR_OPENING = re.compile(
    f"{PREPOSITIONS}|{PRONOUNS}|{QUESTION_WORDS}", re.IGNORECASE
)
RIDDLE_WORD = re.compile(
    r"\b(whoever|whatever|nobody|somebody|whom|wherever|whichever)\b", re.IGNORECASE
)
UNCLEAR_NAMES = frozenset(
    ("found", "wanted", "said", "written", "stored", "either", "asked", "carried_out")
)

# "In-memory" and "One-shot" are adjectives, and an opening in quotes is a value.
FIRST_WORD = re.compile(r"[\s*_(]*([A-Za-z]+)(?![\w'-])")
QUOTED = re.compile(
    r"```.*?```|``.+?``|`[^`]+`|\"[^\"]+\"|“[^”]+”|(?<!\w)'[^'\n]+'(?!\w)", re.DOTALL
)


class Kind(enum.Enum):
    """Kind of a symptom."""

    OPENING = "opening"
    RIDDLE = "riddle"
    FUNCTION = "function"
    VARIABLE = "variable"
    LONG_TEST = "long_test"

    @property
    def advice(self) -> str:
        """Advice on what to write instead."""
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
    """Symptoms and numbers of one or more files.

    `num_long_test_names` counts test names above `GOOD_TEST_NAME` letters.
    """

    symptoms: list[Symptom] = field(default_factory=list)
    num_docstrings: int = 0
    num_openings_with_of: int = 0
    num_comments: int = 0
    num_tests: int = 0
    num_long_test_names: int = 0

    def count(self, kind: Kind) -> int:
        """Return how many symptoms of one kind there are."""
        return sum(symptom.kind is kind for symptom in self.symptoms)

    def add(self, other: Report) -> None:
        """Add the symptoms and numbers of another report to this one."""
        self.symptoms += other.symptoms
        self.num_docstrings += other.num_docstrings
        self.num_openings_with_of += other.num_openings_with_of
        self.num_comments += other.num_comments
        self.num_tests += other.num_tests
        self.num_long_test_names += other.num_long_test_names


def inspect(path: str, text: str) -> Report:
    """Return the report of one file.

    In Python, docstrings, comments, messages and names are checked; in other files, the
    whole text outside code and quotes is searched for `RIDDLE_WORD`. Raises SyntaxError
    for invalid Python.
    """
    if path.endswith(".py"):
        return _ModuleInspector(path, text).inspect()
    return Report(list(_find_riddles(path, text, 1)))


class _ModuleInspector:
    """Inspector of one Python module: its docstrings, comments, messages and names."""

    def __init__(self, path: str, text: str):
        self.path = path
        self.text = text
        self.is_test = path.startswith("tests/")
        self.report = Report()
        # Annotated fields of classes: their names may be keys of a file format.
        self._fields: set[ast.AST] = set()

    def inspect(self) -> Report:
        """Check the module, and return the report. It must be called only once."""
        tree = ast.parse(self.text)
        docstrings: set[ast.AST] = set()
        for node in ast.walk(tree):
            self._check_docstring(node, docstrings)
            self._check_names(node)
            self._check_test_name(node)
        for node, text in _find_messages(tree, docstrings, self.is_test):
            self._add_riddles(text, node.lineno)
        self._check_comments()
        if Path(self.path).stem in UNCLEAR_NAMES:
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
        if UNCLEAR_OPENING.fullmatch(word) and word != "US":
            self.report.num_openings_with_of += word == "Of"
            self._add(statement.lineno, Kind.OPENING, f'docstring opens with "{word}"')

    def _check_names(self, node: ast.AST) -> None:
        name: str | None = None
        kind = Kind.VARIABLE
        match node:
            case ast.ClassDef(body=body):
                self._fields |= {
                    statement.target
                    for statement in body
                    if isinstance(statement, ast.AnnAssign)
                }
            case ast.Name() if node in self._fields:
                pass
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                kind = Kind.FUNCTION
            case ast.Name(id=name, ctx=ast.Store()) | ast.arg(arg=name):
                pass
            case ast.Attribute(attr=name, ctx=ast.Store()) | ast.alias(asname=name):
                pass
        if name is not None and name.strip("_") in UNCLEAR_NAMES:
            line = getattr(node, "lineno", 1)
            self._add(line, kind, f'{kind.value} "{name}"')

    def _check_test_name(self, node: ast.AST) -> None:
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
            length = len(node.name)
            self.report.num_tests += 1
            self.report.num_long_test_names += length > GOOD_TEST_NAME
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
    for match in RIDDLE_WORD.finditer(blanked):
        line = first_line + blanked.count("\n", 0, match.start())
        yield Symptom(path, line, Kind.RIDDLE, f'"{match[1]}"')


def _find_messages(
    tree: ast.AST, docstrings: set[ast.AST], is_test: bool
) -> Iterator[tuple[ast.expr, str]]:
    """Yield each string literal that a person reads, and its text.

    In tests, these are the messages of failures and skips; other strings are test data.
    """
    roots: Sequence[ast.AST] = [tree]
    if is_test:
        roots = [part for node in ast.walk(tree) for part in _message_parts(node)]
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


def _message_parts(node: ast.AST) -> list[ast.expr]:
    """Return the expressions of a test's statement that hold its message, if any."""
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

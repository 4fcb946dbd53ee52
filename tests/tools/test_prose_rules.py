"""Tests of the rules for docstrings, comments, messages and names."""

import pytest

from tools.prose_rules import Kind, inspect

LONG_TEST_NAME = "test_" + "a" * 66


def kinds_in(text, path="deploy/module.py"):
    """Return the kinds of the symptoms in a file, by line."""
    return [symptom.kind for symptom in inspect(path, text).symptoms]


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ('"""Of what is there."""', Kind.OPENING),
        ('class Page:\n    """One page."""', Kind.OPENING),
        ('def read():\n    """Whether a page is blank."""', Kind.OPENING),
        ('async def read():\n    """\n    Nothing is read.\n    """', Kind.OPENING),
        ('"""Page of whoever asks."""', Kind.RIDDLE),
        ("# Nobody waits.", Kind.RIDDLE),
        ('raise ValueError("whatever was sent is broken")', Kind.RIDDLE),
        ('raise ValueError(f"{name} is somebody else\'s")', Kind.RIDDLE),
        ("def found(): pass", Kind.FUNCTION),
        ("async def _stored(): pass", Kind.FUNCTION),
        ("wanted = 1", Kind.VARIABLE),
        ("def read(said): pass", Kind.VARIABLE),
        ("for written in pages: pass", Kind.VARIABLE),
        ("self._asked = 1", Kind.VARIABLE),
        ("import pages as either", Kind.VARIABLE),
        (f"def {LONG_TEST_NAME}(): pass", Kind.LONG_TEST),
    ],
)
def test_each_symptom_is_reported(text, kind):
    assert kinds_in(text) == [kind]


@pytest.mark.parametrize(
    "text",
    [
        '"""Return the page that a client asked for, whichever_it is."""',
        '"""In-memory store."""',
        '"""`None` if there is no page."""',
        '"""US English."""',
        '"""Return what was found in the page, and when."""',
        '"""Run as the user `nobody`."""',
        '# The model reads "whoever" as one token.',
        'USERS = ("nobody", "root")',
        'print(f"the user {name} is called `nobody` here")',
        "page = found",
        "class Place:\n    written: int",
        "def test_page_is_read(): pass",
    ],
)
def test_plain_prose_is_not_reported(text):
    assert kinds_in(text) == []


def test_data_of_tests_is_not_reported():
    text = 'def test_page():\n    assert read() == "a page of nobody at all"\n'

    assert kinds_in(text, "tests/test_page.py") == []


@pytest.mark.parametrize(
    "statement",
    [
        'assert page, "a page that nobody reads"',
        'raise ValueError("a page that nobody reads")',
        'pytest.skip("a page that nobody reads")',
        'pytest.mark.skipif(True, reason="a page that nobody reads")',
    ],
)
def test_messages_of_tests_are_reported(statement):
    assert kinds_in(statement, "tests/test_page.py") == [Kind.RIDDLE]


def test_module_name_is_reported():
    assert kinds_in("", "deploy/commands/wanted.py") == [Kind.FUNCTION]


def test_riddle_in_markdown_is_reported_outside_code():
    text = "Pages.\n\n```\nwhoever\n```\n\nWhoever reads `nobody`.\n"

    (symptom,) = inspect("README.md", text).symptoms

    assert (symptom.kind, symptom.line) == (Kind.RIDDLE, 7)

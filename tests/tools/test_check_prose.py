"""Tests of the lint of docstrings, comments, messages and names."""

import json
import subprocess

import pytest

from tools import check_prose
from tools.check_prose import Kind, check, count_symptoms, inspect, lower_baseline

LONG_NAME = "test_" + "a" * 66


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """A git repository with a `tools` folder, as the working directory."""
    monkeypatch.chdir(tmp_path)
    subprocess.run(["git", "init", "--quiet"], check=True)
    (tmp_path / "tools").mkdir()
    return tmp_path


def kinds_in(text, path="deploy/module.py"):
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
        (f"def {LONG_NAME}(): pass", Kind.LONG_TEST),
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


def test_new_symptom_fails_with_place_and_advice():
    reports = {"a.py": inspect("a.py", '"""Reader."""\n\n\ndef found(): pass\n')}

    lines, passes = check(reports, {})

    assert not passes
    assert lines[0].startswith('a.py:4: function "found": name a function by a verb')


def test_baseline_of_one_kind_excuses_no_other():
    reports = {"a.py": inspect("a.py", "def found(): pass\n")}

    assert check(reports, {"a.py": {"function": 1}})[1]
    assert not check(reports, {"a.py": {"opening": 1}})[1]
    assert not check(reports, {"b.py": {"function": 1}})[1]


def test_improved_file_names_the_update_command():
    reports = {"a.py": inspect("a.py", "")}

    lines, passes = check(reports, {"a.py": {"riddle": 2}})

    assert passes
    assert "a.py: riddle is down from 2 to 0" in lines[0]
    assert check_prose.UPDATE in lines[0]


def test_test_names_above_60_letters_are_noted_only():
    name = "test_" + "a" * 60
    reports = {"a.py": inspect("a.py", f"def {name}(): pass\n")}

    lines, passes = check(reports, {})

    assert passes
    assert lines == ["note: 1 test names above 60 letters"]


def test_baseline_is_lowered_and_never_raised():
    counts = {"a.py": {"opening": 5, "riddle": 1}, "new.py": {"opening": 1}}
    baseline = {"a.py": {"opening": 3, "riddle": 2}, "gone.py": {"opening": 1}}

    assert lower_baseline(counts, baseline) == {"a.py": {"opening": 3, "riddle": 1}}


def test_counts_leave_out_files_without_symptoms():
    reports = {"a.py": inspect("a.py", ""), "b.py": inspect("b.py", "found = 1")}

    assert count_symptoms(reports) == {"b.py": {"variable": 1}}


def test_command_fails_until_the_symptom_is_gone(repository, capsys):
    check_prose.BASELINE.write_text("{}\n")
    module = repository / "module.py"
    module.write_text('"""Of pages."""\n')

    assert check_prose.main([]) == 1
    assert 'module.py:1: docstring opens with "Of"' in capsys.readouterr().out
    module.write_text('"""Reader of pages."""\n')
    assert check_prose.main([]) == 0


def test_update_writes_what_is_left(repository):
    check_prose.BASELINE.write_text('{"module.py": {"opening": 2}}')
    (repository / "module.py").write_text('"""Of pages."""\n')

    assert check_prose.main(["--update"]) == 0

    assert json.loads(check_prose.BASELINE.read_text()) == {"module.py": {"opening": 1}}


def test_summary_compares_with_a_revision(repository, capsys):
    module = repository / "deploy.py"
    module.write_text('"""Of pages."""\n')
    name = ["-c", "user.name=A", "-c", "user.email=a@example.com"]
    subprocess.run(["git", "add", "."], check=True)
    subprocess.run(["git", *name, "commit", "-qm", "Add pages"], check=True)
    module.write_text('"""Reader of pages."""\n')

    assert check_prose.main(["--summary", "--against", "HEAD"]) == 0

    assert "100.0% > 0.0%" in capsys.readouterr().out

"""Tests of the command that reports symptoms of unclear prose."""

import subprocess

import pytest

from tools import check_prose
from tools.check_prose import check
from tools.prose_rules import inspect


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """A git repository as the working directory."""
    monkeypatch.chdir(tmp_path)
    subprocess.run(["git", "init", "--quiet"], check=True)
    return tmp_path


def test_symptom_fails_with_place_and_advice():
    reports = {"a.py": inspect("a.py", '"""Reader."""\n\n\ndef found(): pass\n')}

    lines, passes = check(reports)

    assert not passes
    assert lines[0].startswith('a.py:4: function "found": name a function by a verb')


def test_symptoms_of_all_files_are_listed():
    reports = {
        "a.py": inspect("a.py", "def found(): pass\n"),
        "b.py": inspect("b.py", "wanted = 1\n"),
        "c.py": inspect("c.py", "pages = 1\n"),
    }

    lines, passes = check(reports)

    assert not passes
    assert [line.partition(":")[0] for line in lines] == ["a.py", "b.py"]


def test_test_names_above_60_letters_are_noted_only():
    name = "test_" + "a" * 60
    reports = {"a.py": inspect("a.py", f"def {name}(): pass\n")}

    lines, passes = check(reports)

    assert passes
    assert lines == ["note: 1 test names above 60 letters"]


def test_command_fails_until_the_symptom_is_gone(repository, capsys):
    module = repository / "module.py"
    module.write_text('"""Of pages."""\n')

    assert check_prose.main([]) == 1
    assert 'module.py:1: docstring opens with "Of"' in capsys.readouterr().out

    module.write_text('"""Reader of pages."""\n')
    assert check_prose.main([]) == 0


def test_summary_compares_with_a_revision(repository, capsys):
    module = repository / "deploy.py"
    module.write_text('"""Of pages."""\n')
    author = ["-c", "user.name=A", "-c", "user.email=a@example.com"]
    subprocess.run(["git", "add", "."], check=True)
    subprocess.run(["git", *author, "commit", "-qm", "Add pages"], check=True)
    module.write_text('"""Reader of pages."""\n')

    assert check_prose.main(["--summary", "--against", "HEAD"]) == 0

    assert "100.0% > 0.0%" in capsys.readouterr().out

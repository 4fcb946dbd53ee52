"""Tests of the command that compares symptoms of unclear prose with the baseline."""

import json
import subprocess

import pytest

from tools import check_prose
from tools.check_prose import check, count_symptoms, lower_baseline
from tools.prose_rules import inspect


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """A git repository with a `tools` folder, as the working directory."""
    monkeypatch.chdir(tmp_path)
    subprocess.run(["git", "init", "--quiet"], check=True)
    (tmp_path / "tools").mkdir()
    return tmp_path


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


def test_update_lowers_the_baseline_file(repository):
    check_prose.BASELINE.write_text('{"module.py": {"opening": 2}}')
    (repository / "module.py").write_text('"""Of pages."""\n')

    assert check_prose.main(["--update"]) == 0

    assert json.loads(check_prose.BASELINE.read_text()) == {"module.py": {"opening": 1}}


def test_summary_compares_with_a_revision(repository, capsys):
    module = repository / "deploy.py"
    module.write_text('"""Of pages."""\n')
    author = ["-c", "user.name=A", "-c", "user.email=a@example.com"]
    subprocess.run(["git", "add", "."], check=True)
    subprocess.run(["git", *author, "commit", "-qm", "Add pages"], check=True)
    module.write_text('"""Reader of pages."""\n')

    assert check_prose.main(["--summary", "--against", "HEAD"]) == 0

    assert "100.0% > 0.0%" in capsys.readouterr().out

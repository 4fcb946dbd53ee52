"""Command line: help, flags, exit statuses and errors."""

from __future__ import annotations

import argparse
import io
import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import boto3
import pytest

import handler
from deploy import cli
from deploy.aws import AWSClient
from deploy.commands.command import Group
from deploy.commands.index import COMMANDS, names
from deploy.console import Console
from deploy.errors import NotFoundError

ROOT = Path(__file__).resolve().parents[2]


def list_entries():
    """Return the words and the index entry of every command."""
    entries = [
        entry
        for command in COMMANDS
        for entry in (command.entries if isinstance(command, Group) else [command])
    ]
    return [
        pytest.param(words, entry, id=" ".join(words))
        for words, entry in zip(names(), entries, strict=True)
    ]


@pytest.mark.parametrize(("words", "entry"), list_entries())
def test_command_has_a_description(words, entry):
    assert entry.help
    assert entry.load().description.endswith(".")


@pytest.mark.parametrize(("words", "entry"), list_entries())
def test_command_has_two_examples_that_parse(words, entry):
    examples = entry.load().examples

    assert len(examples) >= 2
    for example in examples:
        arguments = shlex.split(example.partition(" > ")[0].partition(" >> ")[0])
        options = cli.build_parser(arguments).parse_args(arguments)
        assert arguments[: len(words)] == list(words)
        assert options.run == entry.load().run


@pytest.mark.parametrize(
    "group", [command for command in COMMANDS if isinstance(command, Group)]
)
def test_group_has_two_examples_that_parse(group):
    assert len(group.examples) >= 2
    for example in group.examples:
        arguments = shlex.split(example)
        options = cli.build_parser(arguments).parse_args(arguments)
        assert options.command == group.name


@pytest.mark.parametrize(("words", "entry"), list_entries())
def test_every_argument_has_a_help_text(words, entry):
    parser = argparse.ArgumentParser()
    entry.load().add_arguments(parser)

    assert [action for action in parser._actions if not action.help] == []


HEAVY_LIBRARIES = {
    "boto3",
    "botocore",
    "huggingface_hub",
    "moto",
    "nh3",
    "PIL",
    "pypdfium2",
}


@pytest.mark.parametrize(
    "arguments",
    [["--help"], ["--version"], *([*words, "--help"] for words in names())],
    ids=" ".join,
)
def test_help_imports_no_heavy_library(arguments):
    program = (
        "import atexit, sys; from deploy.__main__ import run; "
        f"libraries = {HEAVY_LIBRARIES!r}; "
        "atexit.register(lambda: print(sorted(libraries & set(sys.modules)))); "
        f"sys.argv[1:] = {arguments!r}; sys.exit(run())"
    )

    ran = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.splitlines()[-1] == "[]"


def test_help_of_the_program_imports_no_command():
    program = (
        "import sys; from deploy import cli; cli.build_parser([]).format_help(); "
        "print('deploy.context' in sys.modules)"
    )

    ran = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip

    assert ran.stdout == "False\n"


def test_a_global_flag_goes_before_the_command_or_after_it():
    before = cli.build_parser().parse_args(["--region", "eu-west-1", "status"])
    after = cli.build_parser().parse_args(["status", "--region", "eu-west-1"])
    neither = cli.build_parser().parse_args(["status"])

    assert (before.region, after.region, neither.region) == (
        "eu-west-1",
        "eu-west-1",
        None,
    )


@pytest.mark.parametrize("words", [["--version"], ["--version", "deploy"]])
def test_version_flag_prints_name_and_version(words, capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main(words)

    assert ended.value.code == 0
    assert capsys.readouterr().out == f"chandra-sagemaker {handler.__version__}\n"


INTERRUPTED_IMPORT = """
import sys

class Finder:
    def find_spec(self, name, *_):
        if name == "MODULE":
            raise KeyboardInterrupt

sys.meta_path.insert(0, Finder())
from deploy.__main__ import run
sys.exit(run())
"""


@pytest.mark.parametrize("module", ["deploy.cli", "deploy.context"])
@pytest.mark.parametrize("flags", [[], ["--json"]])
def test_ctrl_c_during_import_is_no_traceback(flags, module):
    program = INTERRUPTED_IMPORT.replace("MODULE", module)
    ran = subprocess.run(
        [sys.executable, "-c", program, "deploy", *flags],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert ran.returncode == 130
    assert "interrupted. this command had changed nothing" in ran.stderr
    assert "Traceback" not in ran.stderr
    assert bool(ran.stdout) is bool(flags)


def test_unknown_flag_ends_with_status_2_and_a_hint(capsys):
    status = cli.main(["deploy", "--instance-typ", "ml.g5.xlarge"])

    assert status == 2
    assert "try:   chandra-sagemaker" in capsys.readouterr().err


def test_with_json_an_unknown_flag_is_one_object_too(capsys):
    status = cli.main(["deploy", "--json", "--instance-count", "two"])

    error = json.loads(capsys.readouterr().out)["error"]
    assert (status, error["exit_code"]) == (2, 2)
    assert error["hint"] == "chandra-sagemaker deploy --help"


def run_command(tmp_path, *arguments, connect=None, as_json=False):
    out, err = io.StringIO(), io.StringIO()
    status = cli.main(
        [*arguments, "--config", str(tmp_path / "chandra.toml")],
        console=Console(as_json=as_json, out=out, err=err),
        **({"connect": connect} if connect else {}),
    )
    return status, out.getvalue(), err.getvalue()


def fail_to_connect(error):
    """Return a function that raises `error` in place of connecting to AWS."""

    def connect(**_):
        raise error

    return connect


def test_last_line_of_an_error_suggests_a_command(tmp_path):
    status, out, err = run_command(tmp_path, "status")

    assert status == 2
    assert out == ""
    assert err.splitlines()[-1] == "try:   chandra-sagemaker init"


def test_with_json_an_error_is_one_object(tmp_path):
    status, out, _ = run_command(tmp_path, "status", as_json=True)

    assert json.loads(out)["error"]["code"] == "bad_config"
    assert json.loads(out)["error"]["exit_code"] == status == 2


def test_a_known_error_ends_with_its_own_status(tmp_path, project):
    status, _, err = run_command(
        tmp_path, "status", connect=fail_to_connect(NotFoundError("no such"))
    )

    assert status == 4
    assert "error: no such" in err


def test_bug_is_reported_with_its_exception(tmp_path, project):
    status, _, err = run_command(
        tmp_path, "status", connect=fail_to_connect(ZeroDivisionError())
    )

    assert status == 3
    assert "ZeroDivisionError" in err
    assert "this is a bug" in err


def test_ctrl_c_before_any_change_reports_no_changes(tmp_path, project):
    status, _, err = run_command(
        tmp_path, "status", connect=fail_to_connect(KeyboardInterrupt())
    )

    assert status == 130
    assert "had changed nothing" in err


@pytest.mark.parametrize(
    ("raised", "code", "expected"),
    [(ZeroDivisionError("x"), "bug", 3), (KeyboardInterrupt(), "interrupted", 130)],
)
def test_with_json_every_ending_is_one_object(
    tmp_path, project, raised, code, expected
):
    status, out, err = run_command(
        tmp_path, "status", connect=fail_to_connect(raised), as_json=True
    )

    error = json.loads(out)["error"]
    assert (error["code"], error["exit_code"], status) == (code, expected, expected)
    assert err


def test_closed_pipe_is_no_bug(tmp_path):
    reading, writing = os.pipe()
    os.close(reading)
    unread = subprocess.run(
        [sys.executable, "-m", "deploy", "init", "--config", tmp_path / "new.toml"],
        cwd=ROOT,
        stdout=writing,
        stderr=subprocess.PIPE,
        check=False,
    )
    os.close(writing)

    assert (unread.returncode, unread.stderr) == (141, b"")


def test_a_plan_needs_no_credentials(tmp_path, project):
    status, out, err = run_command(tmp_path, "plan")

    assert status == 0, err
    assert "offline (there are no credentials)" in out
    assert "would create endpoint ocr" in out
    assert "1 x ml.g6e.2xlarge: $2.80 an hour, $67.20 a day, $2,044.00 a month" in out


def test_a_plan_needs_no_network(tmp_path, project):
    def connect(**_):
        return AWSClient(
            boto3.Session("testing", "testing", region_name="us-east-1"),
            endpoint_url="http://127.0.0.1:9",
            num_attempts=1,
        )

    status, out, err = run_command(tmp_path, "plan", connect=connect)

    assert status == 0, err
    assert "AWS cannot be reached" in out
    assert "would create endpoint ocr" in out


def test_a_plan_for_a_t4_is_refused_with_the_reason(tmp_path, project):
    status, out, _ = run_command(tmp_path, "plan", "--instance-type", "ml.g4dn.xlarge")

    assert status == 1
    assert "T4 with 16 GB; the weights take 17.5 GB" in out


def test_missing_credentials_are_reported(tmp_path, project):
    status, _, err = run_command(tmp_path, "deploy")

    assert status == 2
    assert "no AWS credentials were found" in err

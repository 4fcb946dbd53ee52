"""Tests of the scripts of `completion`, which real shells read."""

from __future__ import annotations

import os
import pty
import re
import select
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from deploy.commands.index import names

ROOT = Path(__file__).resolve().parents[2]
SHELLS = ("bash", "zsh", "fish")
BASH = """\
source "$1"
shift
COMP_WORDS=("$@")
COMP_CWORD=$(($# - 1))
complete=$(complete -p chandra-sagemaker)
[[ $complete =~ -F\\ ([^ ]+) ]]
"${BASH_REMATCH[1]}" "$1" "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
echo "${COMPREPLY[@]}"
"""
CASES = (
    (["sche"], "schedule"),
    (["transform", "re"], "retry"),
    (["--region", "eu-west-1", "async", "sub"], "submit"),
    (["transform", "start", "--instance-c"], "--instance-count"),
    (["invoke", "--format", "rep"], "report"),
)


@pytest.fixture(params=SHELLS)
def script(request, chandra, tmp_path):
    """Return a shell and the file with its script."""
    ran = chandra("completion", request.param)
    assert ran.status == 0, ran.err
    path = tmp_path / f"completion.{request.param}"
    path.write_text(ran.out)
    return request.param, path


def test_script_names_every_command(script):
    _, path = script
    text = path.read_text()

    assert [words for words in names() if words[-1] not in text] == []


def complete(shell, path, words):
    """Return what a shell offers for the last of the words."""
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    line = ["chandra-sagemaker", *words]
    if shell == "bash":
        command = ["bash", "--norc", "-c", BASH, "bash", str(path), *line]
    elif shell == "fish":
        source = f"source {path}; complete -C '{' '.join(line)}'"
        command = ["fish", "--no-config", "-c", source]
    else:
        return complete_in_zsh(path, " ".join(line))
    ran = subprocess.run(command, capture_output=True, text=True, check=True)
    return ran.stdout


def complete_in_zsh(path, line):
    """Press Tab in an interactive zsh, which completes nowhere else."""
    (path.parent / "_chandra-sagemaker").write_text(path.read_text())
    setup = (
        f"PS1='> '; fpath=({path.parent} $fpath); autoload -U compinit; "
        "compinit -u -D; echo rea''dy\n"
    )
    terminal, inner = pty.openpty()
    zsh = subprocess.Popen(
        ["zsh", "-f", "-i"],
        stdin=inner,
        stdout=inner,
        stderr=inner,
        env={**os.environ, "TERM": "dumb"},
        start_new_session=True,
    )
    os.close(inner)
    try:
        os.write(terminal, setup.encode())
        read_until(terminal, r"ready")
        # Ctrl-A and `echo` print the completed line instead of running it.
        os.write(terminal, f"{line}\t\x01echo is \n".encode())
        return read_until(terminal, r"\nis (chandra-sagemaker [^\n]*)\n")
    finally:
        zsh.kill()
        zsh.wait()
        os.close(terminal)


def read_until(terminal, pattern, seconds=60):
    """Return what a terminal prints up to and with the match of a pattern."""
    shown, end = "", time.monotonic() + seconds
    while (match := re.search(pattern, shown)) is None:
        left = end - time.monotonic()
        ready, _, _ = select.select([terminal], [], [], max(left, 0))
        assert ready, f"{pattern!r} did not come, but {shown!r}"
        shown += os.read(terminal, 4096).decode(errors="replace").replace("\r", "")
    return match[0]


@pytest.mark.parametrize(("words", "expected"), CASES)
def test_shell_completes_commands_flags_and_values(script, words, expected):
    shell, path = script

    offered = complete(shell, path, words)

    assert expected in offered.split()


def test_completion_imports_no_aws_library():
    program = (
        "import sys; from deploy.cli import main;"
        "status = main(['completion', 'bash']);"
        "heavy = {'boto3', 'botocore', 'moto', 'pypdfium2'} & set(sys.modules);"
        "sys.exit(f'{status} {heavy}' if status or heavy else 0)"
    )

    ran = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert (ran.returncode, ran.stderr) == (0, "")


def test_completion_without_shtab_says_what_to_install(chandra, monkeypatch):
    monkeypatch.setitem(sys.modules, "shtab", None)

    ran = chandra("completion", "bash")

    assert ran.status == 2
    assert "completion needs shtab" in ran.err
    assert "pip install shtab" in ran.err

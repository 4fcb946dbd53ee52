"""Output of `make demo`, to the letter, and the README that shows it.

The README shows a recorded output, so its times are those of one run. With
UPDATE_DOCS=1 in the environment, the test that runs the demo writes its output to the
README.
"""

from __future__ import annotations

import os
import re

import pytest

from server.archive import ROOT
from server.demo import MODEL_NOTE, NEXT_STEP
from tests.server.processes import start_command

README = ROOT / "README.md"
README_OUTPUT = re.compile(r"(?<=```console\n\$ make demo\n).*?(?=```\n)", re.DOTALL)
EXPECTED_OUTPUT = f"""\
starting TorchServe on http://127.0.0.1:8080
ready after N s
{MODEL_NOTE}

--- samples/page.png: 1 page in N s

{(ROOT / "samples" / "page.md").read_text()}
--- samples/report.pdf: 2 pages in N s

{(ROOT / "samples" / "report.md").read_text()}
stopped
{NEXT_STEP}
"""
MAX_COLUMNS = 100


def mask_times(output: str) -> str:
    return re.sub(r"\b\d+\.\d s$", "N s", output, flags=re.MULTILINE)


def run_demo(config, **environ: str) -> str:
    """Return the output of the demo, with the default port instead of a free one."""
    with start_command("demo", "--config", config, **environ) as process:
        output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, output
    return re.sub(r"(?<=http://127\.0\.0\.1:)\d+", "8080", output)


def test_the_demo_reads_every_letter_of_both_samples(config):
    output = run_demo(config)

    assert mask_times(output) == EXPECTED_OUTPUT
    if os.environ.get("UPDATE_DOCS"):
        README.write_text(README_OUTPUT.sub(lambda _: output, README.read_text()))


@pytest.mark.slow
@pytest.mark.parametrize("draft_tokens", ["none", "8"])
@pytest.mark.parametrize("cpu_threads", ["1", "2"])
def test_drafts_and_threads_do_not_change_the_demo(config, draft_tokens, cpu_threads):
    output = run_demo(
        config, CHANDRA_DRAFT_TOKENS=draft_tokens, CHANDRA_CPU_THREADS=cpu_threads
    )

    assert mask_times(output) == EXPECTED_OUTPUT


def test_the_readme_shows_the_whole_output_of_the_demo():
    [shown] = README_OUTPUT.findall(README.read_text())

    assert mask_times(shown) == EXPECTED_OUTPUT


def test_the_output_of_the_demo_fits_a_terminal():
    widest = max(EXPECTED_OUTPUT.splitlines(), key=len)

    assert len(widest) <= MAX_COLUMNS


def test_the_next_step_is_the_command_of_the_readme():
    command = NEXT_STEP.removeprefix("next: ").partition("  #")[0]

    assert f"```console\n$ {command}\n" in README.read_text()

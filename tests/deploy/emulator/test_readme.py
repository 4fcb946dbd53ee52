"""Tests that the README of the emulator agrees with the program."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import deploy.emulator
from deploy.emulator.limits import Assumptions
from deploy.emulator.seed import SampleResources

FOLDER = Path(deploy.emulator.__file__).parent
README = (FOLDER / "README.md").read_text()


def read_rows(first: str) -> list[list[str]]:
    """Return the rows of the table whose head begins with `first`."""
    table = README.partition(f"\n| {first} |")[2].partition("\n\n")[0]
    return [
        [cell.strip() for cell in line.strip("|").split(" | ")]
        for line in table.splitlines()[2:]
    ]


def test_table_of_assumptions_has_every_default():
    documented = {row[0].strip("`"): row[1] for row in read_rows("name")}
    defaults = dataclasses.asdict(Assumptions()).items()

    assert documented == {
        name: json.dumps(value).strip('"') for name, value in defaults
    }


def test_every_behaviour_has_a_basis():
    bases = {row[1] for row in read_rows("behaviour") if not row[0].startswith("**")}

    assert bases == {"documented", "reported", "assumed", "ours"}


def test_example_shows_the_sample_resources():
    samples = SampleResources(
        "chandra", "chandra-async", "chandra-batch", "chandra-local"
    )

    assert "\n".join(samples.describe()) in README

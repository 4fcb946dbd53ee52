"""deploy/local/README.md says what the program says."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import deploy.emulator
from deploy.emulator.limits import Assumed
from deploy.emulator.seed import Seed

FOLDER = Path(deploy.emulator.__file__).parent
README = (FOLDER / "README.md").read_text()


def rows(first: str) -> list[list[str]]:
    """Of the table whose head begins so."""
    table = README.partition(f"\n| {first} |")[2].partition("\n\n")[0]
    return [
        [cell.strip() for cell in line.strip("|").split(" | ")]
        for line in table.splitlines()[2:]
    ]


def test_every_assumption_that_can_be_set_is_listed_with_its_default():
    written = {row[0].strip("`"): row[1] for row in rows("name")}
    defaults = dataclasses.asdict(Assumed()).items()

    assert written == {name: json.dumps(value).strip('"') for name, value in defaults}


def test_every_behaviour_has_a_basis():
    bases = {row[1] for row in rows("behaviour") if not row[0].startswith("**")}

    assert bases == {"documented", "reported", "assumed", "ours"}


def test_what_is_there_from_the_start_is_what_is_shown():
    made = Seed("chandra", "chandra-async", "chandra-batch", "chandra-local")

    assert "\n".join(made.lines()) in README


def test_every_module_is_listed():
    listed = {name.strip("`") for row in rows("module") for name in row[0].split(", ")}

    assert listed == {p.name for p in FOLDER.glob("*.py") if p.name != "__init__.py"}

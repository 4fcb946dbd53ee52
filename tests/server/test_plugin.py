"""The plugin is built where there is a Java compiler, and used where it was built."""

from __future__ import annotations

import os
import shutil
import zipfile

import pytest

from server.java import find_java_home
from server.plugin import SOURCES, PluginError, find_plugin

needs_a_compiler = pytest.mark.skipif(
    shutil.which("javac") is None, reason="this machine has no JDK"
)


@pytest.fixture
def sources(tmp_path):
    return shutil.copytree(SOURCES, tmp_path / "frontend")


@pytest.fixture
def no_compiler(tmp_path, monkeypatch):
    """The home of a Java without javac, where PATH has none either."""
    monkeypatch.setenv("PATH", str(tmp_path))
    return tmp_path


@needs_a_compiler
def test_the_jar_names_the_endpoints_that_are_in_it(sources, tmp_path):
    folder = find_plugin(find_java_home(os.environ), sources=sources, folder=tmp_path)

    assert folder is not None
    [jar] = folder.glob("*.jar")
    with zipfile.ZipFile(jar) as archive:
        names = archive.namelist()
        [services] = [name for name in names if name.startswith("META-INF/services/")]
        endpoints = archive.read(services).decode().split()
    assert {name.replace(".", "/") + ".class" for name in endpoints} <= set(names)


@needs_a_compiler
def test_the_jar_is_built_again_when_a_source_has_changed(sources, tmp_path):
    def built():
        find_plugin(find_java_home(os.environ), sources=sources, folder=tmp_path)
        [jar] = tmp_path.glob("*.jar")
        return jar.stat().st_mtime_ns

    first = built()
    assert built() == first

    os.utime(next(sources.rglob("*.java")), ns=(first + 10**9, first + 10**9))
    assert built() != first


@needs_a_compiler
def test_a_mistake_in_a_source_is_told_with_the_compilers_words(sources, tmp_path):
    next(sources.rglob("Ping.java")).write_text("class Ping { int x = true; }")

    with pytest.raises(PluginError, match="incompatible types"):
        find_plugin(find_java_home(os.environ), sources=sources, folder=tmp_path)


def test_without_a_compiler_there_is_no_plugin(no_compiler, tmp_path):
    assert find_plugin(no_compiler, folder=tmp_path / "nothing") is None


def test_a_jar_that_is_there_is_used_without_a_compiler(no_compiler, tmp_path):
    jar = tmp_path / "built" / "chandra-frontend.jar"
    jar.parent.mkdir()
    jar.touch()

    assert find_plugin(no_compiler, folder=jar.parent) == jar.parent

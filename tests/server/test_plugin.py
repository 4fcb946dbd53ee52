"""Jar of the frontend and its reproducible build."""

from __future__ import annotations

import shutil
import zipfile

import pytest

from server.plugin import (
    JAR,
    SOURCES,
    PluginError,
    build_plugin,
    compute_sources_digest,
    find_compiler,
    find_plugin,
    read_build_info,
    read_javac_version,
)

needs_a_compiler = pytest.mark.skipif(
    shutil.which("javac") is None, reason="this machine has no JDK"
)


@pytest.fixture
def sources(tmp_path):
    return shutil.copytree(SOURCES, tmp_path / "frontend")


def read_entries(jar) -> dict[str, bytes]:
    with zipfile.ZipFile(jar) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def test_the_jar_was_built_from_the_sources_beside_it():
    digest = read_build_info()["sources_sha256"]

    assert digest == compute_sources_digest(), "a source has changed: run make frontend"


def test_the_jar_names_the_endpoints_that_are_in_it():
    entries = read_entries(JAR)

    [services] = [name for name in entries if name.startswith("META-INF/services/")]
    endpoints = entries[services].decode().split()
    assert endpoints
    assert {name.replace(".", "/") + ".class" for name in endpoints} <= set(entries)


@needs_a_compiler
def test_building_again_gives_the_jar_that_is_shipped(tmp_path):
    again = tmp_path / JAR.name

    build_plugin(again)

    if str(read_javac_version(find_compiler())) == read_build_info()["javac"]:
        assert again.read_bytes() == JAR.read_bytes()
    else:
        assert set(read_entries(again)) == set(read_entries(JAR))


@pytest.mark.slow
@needs_a_compiler
def test_the_jar_does_not_depend_on_where_its_sources_are(sources, tmp_path):
    jars = tmp_path / "here.jar", tmp_path / "there.jar"

    build_plugin(jars[0])
    build_plugin(jars[1], sources=sources)

    assert jars[0].read_bytes() == jars[1].read_bytes()


@needs_a_compiler
def test_compile_error_is_reported_with_javacs_message(sources, tmp_path):
    next(sources.rglob("Ping.java")).write_text("class Ping { int x = true; }")

    with pytest.raises(PluginError, match="incompatible types"):
        build_plugin(tmp_path / "broken.jar", sources=sources)

    assert not (tmp_path / "broken.jar").exists()


@pytest.mark.parametrize("change", ["edit", "rename", "add"])
def test_the_digest_changes_with_a_source(sources, change):
    before = compute_sources_digest(sources)
    source = next(sources.rglob("Ping.java"))

    if change == "edit":
        source.write_text(source.read_text() + "// changed\n")
    elif change == "rename":
        source.rename(source.with_name("Pong.java"))
    else:
        source.with_name("Pong.java").write_text("")

    assert compute_sources_digest(sources) != before


def test_the_digest_leaves_out_what_is_not_in_the_jar(sources):
    before = compute_sources_digest(sources)

    (sources / "README.md").write_text("another text")

    assert compute_sources_digest(sources) == before


def test_a_server_finds_the_jar_without_a_compiler(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))

    assert find_plugin() == JAR.parent

"""Files that a build reads, and its tag; git is real."""

from __future__ import annotations

import io
import os
import subprocess
import zipfile
from dataclasses import replace

import pytest

from deploy.config import ImageTable
from deploy.errors import ConfigError
from deploy.image.build import Subprocess, compute_tag, select_build_files
from deploy.image.codebuild import buildspec, write_zip
from deploy.image.sources import read_ignore_rules
from tests.deploy.accounts import configured

REGISTRY = "1.dkr.ecr.eu-west-1.amazonaws.com"


class Repository:
    """Build context under git with one commit."""

    def __init__(self, folder):
        self.folder = folder
        self.table = ImageTable(
            context=str(folder), dockerfile=str(folder / "Dockerfile")
        )
        self.runner = Subprocess(lambda line: None)
        self.write("Dockerfile", "FROM scratch")
        self.write("app/main.py", "print()")
        self.write(".gitignore", "*.log\n")
        self.git("init", "--quiet")
        self.commit()

    def git(self, *arguments):
        subprocess.run(
            ["git", "-c", "user.name=t", "-c", "user.email=t@t", *arguments],
            cwd=self.folder,
            check=True,
            capture_output=True,
        )

    def commit(self):
        self.git("add", ".")
        self.git("commit", "--quiet", "--message", "one")

    def write(self, name, text=""):
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    @property
    def tag(self):
        return compute_tag(self.runner, self.table)

    @property
    def files(self):
        return sorted(select_build_files(self.runner, self.table))


@pytest.fixture
def repository(tmp_path, monkeypatch):
    # Ignore the repository that runs the tests, and its owner's settings.
    for name in list(os.environ):
        if name.startswith("GIT_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    folder = tmp_path / "context"
    folder.mkdir()
    return Repository(folder)


def test_tag_is_the_commit(repository):
    assert len(repository.tag) == 12
    assert repository.tag == repository.tag


@pytest.mark.parametrize(
    "change",
    [
        lambda r: r.write("app/main.py", "print(1)"),
        lambda r: r.write("app/new.py"),
        lambda r: (r.folder / "app" / "main.py").unlink(),
        lambda r: (r.folder / "app" / "main.py").chmod(0o755),
        lambda r: (r.write("staged.py"), r.git("add", ".")),
        lambda r: r.write("Dockerfile", "FROM other"),
    ],
    ids=["changed", "untracked", "deleted", "executable", "staged", "dockerfile"],
)
def test_uncommitted_changes_change_the_tag(repository, change):
    clean = repository.tag

    change(repository)

    assert repository.tag.startswith(f"{clean}-")
    assert repository.tag == repository.tag


def test_untracked_bytes_change_the_tag(repository):
    repository.write("app/new.py", "1")
    first = repository.tag
    repository.write("app/new.py", "2")

    assert repository.tag != first


def test_ignored_changes_do_not_change_the_tag(repository):
    """A push writes chandra.lock.json, which must not change the next tag."""
    repository.write(".dockerignore", "*.json\n*.md\n")
    repository.commit()
    clean = repository.tag

    repository.write("chandra.lock.json", "{}")
    repository.write("README.md", "notes")
    repository.write("app/debug.log", "ignored by git")

    assert repository.tag == clean


def test_dockerfile_outside_context_is_included(repository):
    outside = replace(
        repository.table,
        context=str(repository.folder / "app"),
        dockerfile=str(repository.folder / "Dockerfile"),
    )
    clean = compute_tag(repository.runner, outside)
    repository.write("unseen.py")
    unseen = compute_tag(repository.runner, outside)
    repository.write("Dockerfile", "FROM other")

    assert unseen == clean
    assert compute_tag(repository.runner, outside) != clean
    assert sorted(select_build_files(repository.runner, outside)) == [
        ".chandra/Dockerfile",
        "main.py",
    ]


def test_tag_is_required_without_git(runner):
    runner.programs = set()

    with pytest.raises(ConfigError, match="git commit") as caught:
        compute_tag(runner, ImageTable())

    assert "--tag" in (caught.value.hint or "")


def test_failing_git_is_an_error(runner):
    runner.failing = {"diff"}

    with pytest.raises(ConfigError, match="git diff fails"):
        compute_tag(runner, ImageTable())


def test_remote_build_gets_files_that_are_not_ignored(repository):
    repository.write(".dockerignore", "secrets\nDockerfile\n.dockerignore\n")
    repository.write("secrets/key.pem")
    repository.write("app/debug.log")
    repository.write("app/new.py")

    assert repository.files == [
        ".dockerignore",
        ".gitignore",
        "Dockerfile",
        "app/main.py",
        "app/new.py",
    ]


def test_remote_build_without_git_leaves_out_caches(tmp_path, runner):
    runner.programs = set()
    for name in (".git/config", ".venv/bin/python", "Dockerfile", "app/main.py"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")
    table = ImageTable(context=str(tmp_path), dockerfile=str(tmp_path / "Dockerfile"))

    assert sorted(select_build_files(runner, table)) == ["Dockerfile", "app/main.py"]


def test_missing_dockerfile_is_reported(tmp_path, runner):
    with pytest.raises(ConfigError, match="does not exist") as caught:
        select_build_files(runner, ImageTable(dockerfile=str(tmp_path / "Dockerfile")))

    assert "dockerfile" in (caught.value.hint or "")


def test_zip_accepts_files_dated_before_1980(repository):
    os.utime(repository.folder / "Dockerfile", (0, 0))
    packed = io.BytesIO()

    write_zip(select_build_files(repository.runner, repository.table), packed)

    with zipfile.ZipFile(packed) as archive:
        assert sorted(archive.namelist()) == repository.files
        assert archive.read("Dockerfile") == b"FROM scratch"


def test_codebuild_context_is_the_unpacked_zip(repository):
    config = configured(
        image={
            "context": str(repository.folder / "app"),
            "dockerfile": str(repository.folder / "Dockerfile"),
        }
    )

    spec = buildspec(config, "registry/repo:tag", "0123", REGISTRY)

    assert str(repository.folder) not in spec
    assert "--file .chandra/Dockerfile " in spec
    assert spec.endswith(' ."\n')


@pytest.mark.parametrize(
    ("rules", "name", "is_out"),
    [
        # Cases of moby's own matcher.
        ("*", "a", True),
        ("*", "a/b", True),
        ("*\n!a", "a/b", False),
        ("*\n!a/b", "a/c", True),
        ("a\n!a/b\na/b", "a/b", True),
        ("**/*.md", "README.md", True),
        ("**/*.md", "a/b/README.md", True),
        ("*.md", "a/README.md", False),
        ("a/**", "a/b/c", True),
        ("a/**", "a", False),
        ("**/b/**", "a/b/c", True),
        ("/a", "a", True),
        ("a/", "a/b", True),
        ("a?", "ab", True),
        ("a?", "a/", False),
        ("[a-c].py", "b.py", True),
        ("[^a-c].py", "b.py", False),
        (r"\*.py", "*.py", True),
        (r"\*.py", "a.py", False),
        ("# a", "# a", False),
        ("\n \n.", "a", False),
        ("a+b", "a+b", True),
        ("*\n! a", "a", False),
    ],
)
def test_dockerignore_rules_match_docker(tmp_path, rules, name, is_out):
    (tmp_path / ".dockerignore").write_text(rules)
    table = ImageTable(context=str(tmp_path), dockerfile=str(tmp_path / "Dockerfile"))

    assert read_ignore_rules(table).is_left_out(name) is is_out


def test_dockerignore_named_after_dockerfile_wins(tmp_path):
    (tmp_path / ".dockerignore").write_text("a")
    (tmp_path / "Dockerfile.dockerignore").write_text("b")
    table = ImageTable(context=str(tmp_path), dockerfile=str(tmp_path / "Dockerfile"))

    ignore_rules = read_ignore_rules(table)

    assert [ignore_rules.is_left_out(name) for name in ("a", "b")] == [False, True]


def test_own_dockerignore_keeps_needed_files():
    """Every file that the Dockerfile copies is part of a remote build."""
    ignore_rules = read_ignore_rules(ImageTable())

    for name in (
        "Dockerfile",
        "handler/service.py",
        "server/container.py",
        "server/jar/chandra-frontend.jar",
        "container/requirements-lean.txt",
        "model-store/model-config.yaml",
        "model-store/mini/config.json",
        "model-store/mini/chandra-manifest.json",
        "config.properties",
        "LICENSE",
    ):
        assert not ignore_rules.is_left_out(name), name
    for name in ("README.md", "handler/README.md", "deploy/cli.py", "chandra.toml"):
        assert ignore_rules.is_left_out(name), name

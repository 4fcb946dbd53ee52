"""What a build sees, and the tag that says which build it was; git is the real one."""

from __future__ import annotations

import io
import os
import subprocess
import zipfile
from dataclasses import replace

import pytest

from deploy.config import ImageTable
from deploy.errors import ConfigError
from deploy.image.build import Subprocess, build_files, compute_tag
from deploy.image.codebuild import buildspec, write_zip
from deploy.image.sources import ignore_of
from tests.deploy.accounts import configured

REGISTRY = "1.dkr.ecr.eu-west-1.amazonaws.com"


class Repository:
    """A context under git, with one commit."""

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
        return sorted(build_files(self.runner, self.table))


@pytest.fixture
def repository(tmp_path, monkeypatch):
    # Whatever repository the tests run in, and its owner's settings.
    for name in list(os.environ):
        if name.startswith("GIT_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    folder = tmp_path / "context"
    folder.mkdir()
    return Repository(folder)


def test_an_image_is_tagged_by_its_commit(repository):
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
def test_what_is_not_committed_gets_a_tag_of_its_own(repository, change):
    clean = repository.tag

    change(repository)

    assert repository.tag.startswith(f"{clean}-")
    assert repository.tag == repository.tag


def test_other_bytes_in_a_file_that_git_does_not_know_are_another_tag(repository):
    repository.write("app/new.py", "1")
    first = repository.tag
    repository.write("app/new.py", "2")

    assert repository.tag != first


def test_what_the_build_does_not_see_makes_no_other_tag(repository):
    """A push writes chandra.lock.json: the next one must not be another image."""
    repository.write(".dockerignore", "*.json\n*.md\n")
    repository.commit()
    clean = repository.tag

    repository.write("chandra.lock.json", "{}")
    repository.write("README.md", "notes")
    repository.write("app/debug.log", "ignored by git")

    assert repository.tag == clean


def test_a_dockerfile_beside_the_context_is_part_of_the_build(repository):
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
    assert sorted(build_files(repository.runner, outside)) == [
        ".chandra/Dockerfile",
        "main.py",
    ]


def test_without_git_a_tag_has_to_be_given(runner):
    runner.programs = set()

    with pytest.raises(ConfigError, match="git commit") as caught:
        compute_tag(runner, ImageTable())

    assert "--tag" in (caught.value.hint or "")


def test_where_git_breaks_off_the_tree_is_not_taken_for_clean(runner):
    runner.failing = {"diff"}

    with pytest.raises(ConfigError, match="git diff fails"):
        compute_tag(runner, ImageTable())


def test_a_build_elsewhere_gets_what_neither_git_nor_docker_leaves_out(repository):
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


def test_without_git_a_build_elsewhere_leaves_out_what_no_build_needs(tmp_path, runner):
    runner.programs = set()
    for name in (".git/config", ".venv/bin/python", "Dockerfile", "app/main.py"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")
    table = ImageTable(context=str(tmp_path), dockerfile=str(tmp_path / "Dockerfile"))

    assert sorted(build_files(runner, table)) == ["Dockerfile", "app/main.py"]


def test_a_dockerfile_that_is_not_there_is_named(tmp_path, runner):
    with pytest.raises(ConfigError, match="there is no") as caught:
        build_files(runner, ImageTable(dockerfile=str(tmp_path / "Dockerfile")))

    assert "dockerfile" in (caught.value.hint or "")


def test_a_zip_holds_files_from_before_zip_was_invented(repository):
    os.utime(repository.folder / "Dockerfile", (0, 0))
    packed = io.BytesIO()

    write_zip(build_files(repository.runner, repository.table), packed)

    with zipfile.ZipFile(packed) as made:
        assert sorted(made.namelist()) == repository.files
        assert made.read("Dockerfile") == b"FROM scratch"


def test_codebuild_builds_where_the_zip_was_unpacked(repository):
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
def test_dockers_rules_are_read_as_docker_reads_them(tmp_path, rules, name, is_out):
    (tmp_path / ".dockerignore").write_text(rules)
    table = ImageTable(context=str(tmp_path), dockerfile=str(tmp_path / "Dockerfile"))

    assert ignore_of(table).leaves_out(name) is is_out


def test_rules_with_the_dockerfiles_name_go_first(tmp_path):
    (tmp_path / ".dockerignore").write_text("a")
    (tmp_path / "Dockerfile.dockerignore").write_text("b")
    table = ImageTable(context=str(tmp_path), dockerfile=str(tmp_path / "Dockerfile"))

    subject = ignore_of(table)

    assert [subject.leaves_out(name) for name in ("a", "b")] == [False, True]


def test_our_own_image_needs_what_our_own_rules_leave_in():
    """Everything that the Dockerfile copies is there for a build elsewhere."""
    subject = ignore_of(ImageTable())

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
        assert not subject.leaves_out(name), name
    for name in ("README.md", "handler/README.md", "deploy/cli.py", "chandra.toml"):
        assert subject.leaves_out(name), name

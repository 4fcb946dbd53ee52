"""Build, push, check and repair of images; the registry is moto's."""

from __future__ import annotations

import io
import json
import zipfile

import pytest

from deploy.config import ImageTable, read_config
from deploy.errors import ConfigError, ResourceFailedError, WaitTimeoutError
from deploy.image.build import ContainerEngine, Subprocess, find_engine
from deploy.image.codebuild import Builds, buildspec
from deploy.image.manifest import DOCKER, to_docker_manifest
from deploy.image.registry import ImageState, Registry
from tests.deploy.accounts import IDENTITY, configured
from tests.deploy.conftest import interrupt
from tests.deploy.images import (
    OCI,
    OCI_INDEX,
    REPOSITORY,
    digest,
    encoded,
    oci_index,
    oci_manifest,
    put_image,
    write_archive,
)

TABLE = ImageTable()


def join_words(commands):
    return [" ".join(command) for command in commands]


def test_docker_pushes_docker_manifest():
    (command,) = join_words(
        ContainerEngine("docker").push_commands(TABLE, "registry/repo:tag", "0123")
    )

    assert command.startswith("docker buildx build --platform linux/amd64")
    assert "--provenance=false --sbom=false" in command
    assert (
        "--output type=image,name=registry/repo:tag,push=true,oci-mediatypes=false"
        in command
    )
    assert "--build-arg REVISION=0123" in command
    assert "CUDA_VERSION" not in command


def test_configured_cuda_is_passed_to_build():
    table = ImageTable(cuda="13.0")

    (command,) = join_words(
        ContainerEngine("docker").push_commands(table, "registry/repo:tag", "0123")
    )

    assert "--build-arg CUDA_VERSION=13.0" in command


@pytest.mark.parametrize(("name", "verb"), [("podman", "build"), ("buildah", "bud")])
def test_other_engines_push_docker_format(name, verb):
    build, push = join_words(
        ContainerEngine(name).push_commands(TABLE, "registry/repo:tag", "0123")
    )

    assert build.startswith(f"{name} {verb} --format docker")
    assert push == (
        f"{name} push --format v2s2 registry/repo:tag docker://registry/repo:tag"
    )


def test_first_working_engine_is_used(runner):
    assert find_engine(runner).name == "docker"
    runner.programs = {"buildah"}
    assert find_engine(runner).name == "buildah"


def test_codebuild_is_suggested_without_engine(runner):
    runner.programs = set()

    with pytest.raises(ConfigError) as caught:
        find_engine(runner)

    assert "--remote" in (caught.value.hint or "")


def test_push_creates_repository_and_records_digest(chandra, wire, runner, tmp_path):
    docker = to_docker_manifest(oci_manifest())
    runner.on_run = lambda command: (
        put_image(wire, docker, "0123456789ab", DOCKER) if "build" in command else None
    )

    result = chandra("image", "push")

    assert result.status == 0, result.err
    repository = wire.call("ecr", "describe_repositories")["repositories"][0]
    assert repository["imageTagMutability"] == "IMMUTABLE"
    assert repository["imageScanningConfiguration"] == {"scanOnPush": True}
    lock = json.loads((tmp_path / "chandra.lock.json").read_text())["image"]
    assert lock["uri"].startswith(
        f"123456789012.dkr.ecr.us-east-1.amazonaws.com/{REPOSITORY}@sha256:"
    )
    assert lock["tag"] == "0123456789ab"


def test_registry_password_goes_only_to_stdin(chandra, wire, runner):
    runner.on_run = lambda command: (
        put_image(wire, to_docker_manifest(oci_manifest()), "0123456789ab", DOCKER)
        if "build" in command
        else None
    )

    result = chandra("image", "push")

    login, build = runner.ran
    assert login[:3] == ["docker", "login", "--username"]
    assert runner.secrets == ["123456789012-auth-token", None]
    assert "auth-token" not in result.out + result.err + " ".join(login + build)


def test_lifecycle_policy_is_set_once(chandra, cloud, tmp_path):
    archive = str(write_archive(tmp_path / "image.tar"))
    chandra("image", "push", "--archive", archive, "--tag", "one")
    cloud.calls.clear()

    chandra("image", "push", "--archive", archive, "--tag", "two")

    assert "ecr:PutLifecyclePolicy" not in cloud.calls
    assert "ecr:CreateRepository" not in cloud.calls


def test_pushed_image_is_recorded_and_not_built(chandra, wire, runner):
    runner.on_run = lambda command: (
        put_image(wire, to_docker_manifest(oci_manifest()), "0123456789ab", DOCKER)
        if "build" in command
        else None
    )
    first = chandra("image", "push", "--json")
    runner.ran.clear()

    second_result = chandra("image", "push", "--json")

    assert second_result.status == 0, second_result.err
    assert second_result.json == first.json
    assert runner.ran == []
    assert "already exists, so it was not built" in second_result.err


@pytest.mark.parametrize(
    "arguments", [("build", "--remote"), ("push", "--fix"), ("check", "--remote")]
)
def test_ignored_flag_is_refused(chandra, arguments):
    result = chandra("image", *arguments)

    assert result.status == 2
    assert "requires image" in result.err


def test_output_of_programs_goes_to_stderr(capfd):
    output: list[str] = []

    Subprocess(output.append).run(["echo", "Login Succeeded"])

    assert capfd.readouterr() == ("", "Login Succeeded\n")
    assert output == ["$ echo Login Succeeded"]


def test_foreign_lifecycle_policy_is_kept(chandra, wire, cloud, tmp_path):
    wire.call("ecr", "create_repository", repositoryName=REPOSITORY)
    archive = str(write_archive(tmp_path / "image.tar"))

    result = chandra("image", "push", "--archive", archive, "--tag", "one")

    assert result.status == 0, result.err
    assert "ecr:PutLifecyclePolicy" not in cloud.calls


def test_archive_push_needs_no_engine(chandra, cloud, wire, runner, tmp_path):
    archive = write_archive(tmp_path / "image.tar")

    result = chandra("image", "push", "--archive", str(archive), "--tag", "v1")
    second_result = chandra("image", "push", "--archive", str(archive), "--tag", "v1")

    assert result.status == second_result.status == 0, result.err + second_result.err
    assert "SageMaker accepts it" in result.out
    assert runner.ran == []
    assert cloud.calls.count("ecr:CompleteLayerUpload") == 2
    detail = wire.call("ecr", "describe_images", repositoryName=REPOSITORY)
    assert detail["imageDetails"][0]["imageManifestMediaType"] == DOCKER


def test_archive_is_not_tagged_by_commit(chandra, cloud, tmp_path):
    archive = write_archive(tmp_path / "image.tar")

    result = chandra("image", "push", "--archive", str(archive))

    assert result.status == 2
    assert "--archive needs --tag" in result.err
    assert cloud.changes == []


def test_no_repository_is_created_without_engine(chandra, cloud, runner):
    runner.programs = {"git"}

    result = chandra("image", "push")

    assert result.status == 2
    assert "image push --remote" in result.err
    assert cloud.changes == []


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"no tar", "image.tar is not an OCI archive"),
        (None, "image.tar cannot be read"),
    ],
)
def test_invalid_archive_is_refused_before_changes(
    chandra, cloud, tmp_path, content, message
):
    if content is not None:
        (tmp_path / "image.tar").write_bytes(content)

    result = chandra("image", "push", "--archive", str(tmp_path / "image.tar"),
                  "--tag", "v1")  # fmt: skip

    assert result.status == 2
    assert message in result.err
    # One line for what is wrong, and one for what to try.
    assert len(result.err.splitlines()) == 2
    assert cloud.changes == []


@pytest.mark.parametrize("tag", ["b ad", "-v1", "", "x" * 129, "réparé"])
def test_invalid_tag_is_refused_before_build(chandra, cloud, runner, tag):
    result = chandra("image", "push", f"--tag={tag}")

    assert result.status == 2
    assert "is not a valid tag" in result.err
    assert runner.ran == cloud.calls == []


def test_requested_tag_is_shown_of_several(chandra, tmp_path):
    archive = str(write_archive(tmp_path / "image.tar"))

    for tag in ("one", "two"):
        result = chandra("image", "push", "--archive", archive, "--tag", tag)

        assert f"{REPOSITORY}:{tag} is" in result.out
        lock = json.loads((tmp_path / "chandra.lock.json").read_text())
        assert lock["image"]["tag"] == tag


@pytest.mark.usefixtures("repository")
def test_suggested_command_repairs_checked_image(chandra, wire):
    put_image(wire, oci_manifest(), "v1", OCI)

    checked = chandra("image", "check", "--tag", "v1")
    suggested = checked.out.partition("next: chandra-sagemaker ")[2].splitlines()[0]

    assert suggested == "image check --fix --tag v1"
    assert chandra(*suggested.split()).status == 0


@pytest.fixture
def repository(wire, cloud):
    wire.call("ecr", "create_repository", repositoryName=REPOSITORY,
              imageTagMutability="IMMUTABLE")  # fmt: skip


def test_dry_run_of_repair_succeeds(chandra, wire, cloud, repository):
    put_image(wire, oci_manifest(), "v1", OCI)
    cloud.calls.clear()

    result = chandra("image", "check", "--tag", "v1", "--fix", "--dry-run")

    assert result.status == 0, result.err
    assert result.out.splitlines() == [f"would put image {REPOSITORY}:v1-v2s2"]
    assert cloud.changes == []


def test_oci_image_is_detected_and_repaired(
    chandra, wire, repository, project, tmp_path
):
    put_image(wire, oci_manifest(), "v1", OCI)

    checked = chandra("image", "check", "--tag", "v1")
    fixed = chandra("image", "check", "--tag", "v1", "--fix")
    path = tmp_path / "chandra.toml"
    path.write_text(path.read_text().replace("uri =", "# uri ="))

    assert checked.status == 6
    assert "SageMaker does not accept it" in checked.out
    assert fixed.status == 0, fixed.err
    assert "v1-v2s2 is application/vnd.docker" in fixed.out
    assert "@sha256:" in (read_config(path).image.uri or "")
    assert chandra("image", "check").status == 0


def test_untagged_image_is_repaired_under_its_digest(wire, repository):
    put_image(wire, oci_manifest(), "v1", OCI)
    image_digest = digest(encoded(oci_manifest()))
    untagged = ImageState(tag=image_digest, digest=image_digest, media_type=OCI, size=1)

    call = Registry(wire, configured()).plan_repair(untagged)

    assert call.params["imageTag"] == f"{image_digest[7:19]}-v2s2"


def test_an_index_is_repaired_to_its_image(chandra, wire, repository):
    child = oci_manifest()
    put_image(wire, child, "child", OCI)
    image_digest = digest(encoded(child))
    put_image(wire, oci_index(("linux", "amd64", image_digest)), "v1", OCI_INDEX)

    fixed = chandra("image", "check", "--tag", "v1", "--fix", "--json")

    assert fixed.status == 0, fixed.err
    assert fixed.json["media_type"] == DOCKER


def test_repair_is_idempotent(chandra, wire, repository):
    put_image(wire, oci_manifest(), "v1", OCI)

    first = chandra("image", "check", "--tag", "v1", "--fix", "--json").json
    second = chandra("image", "check", "--tag", "v1", "--fix", "--json").json

    assert first == second


def test_missing_image_is_not_found(chandra, repository):
    result = chandra("image", "check", "--tag", "nothing")

    assert result.status == 4
    assert f"there is no image nothing in {REPOSITORY}" in result.err


def test_codebuild_runs_commands_of_local_build():
    spec = buildspec(
        configured(), "registry/repo:tag", "0123", "1.dkr.ecr.eu-west-1.amazonaws.com"
    )

    assert "oci-mediatypes=false" in spec
    assert "get-login-password --region eu-west-1" in spec


@pytest.fixture
def push_remotely(chandra, wire, tmp_path, cloud, intercept):
    """Return a function that builds and pushes an image through CodeBuild.

    The build is simulated: it pushes an image at once.
    """
    context = tmp_path / "context"
    context.mkdir()
    (context / "Dockerfile").write_text("FROM scratch")
    path = tmp_path / "chandra.toml"
    path.write_text(
        path.read_text().replace(
            "[image]\n",
            f'[image]\ncontext = "{context}"\ndockerfile = "{context}/Dockerfile"\n',
        )
    )
    wire.call("s3", "create_bucket", Bucket="weights")
    wire.call("iam", "create_role", RoleName="ocr-build", AssumeRolePolicyDocument="{}")
    wire.call("ecr", "create_repository", repositoryName=REPOSITORY)
    intercept(
        "codebuild",
        "StartBuild",
        lambda params: put_image(
            wire, to_docker_manifest(oci_manifest()), "v1", DOCKER
        ),
    )
    return lambda **kw: chandra("image", "push", "--remote", "--tag", "v1", **kw)


def test_remote_push_builds_on_aws(push_remotely, wire, cloud):
    result = push_remotely()

    assert result.status == 0, result.err
    assert "codebuild:StartBuild" in cloud.calls
    sent = wire.call("s3", "get_object", Bucket="weights", Key="builds/ocr/v1.zip")
    with zipfile.ZipFile(io.BytesIO(sent["Body"].read())) as packed:
        assert packed.namelist() == ["Dockerfile"]


def test_ctrl_c_reports_that_codebuild_continues(push_remotely, intercept, tmp_path):
    intercept("codebuild", "BatchGetBuilds", interrupt)

    result = push_remotely()

    assert result.status == 130
    assert "continues in CodeBuild" in result.err
    assert "image push --remote again" in result.err
    assert not (tmp_path / "chandra.lock.json").exists()


def test_remote_push_without_role_names_next_command(chandra, cloud):
    result = chandra("image", "push", "--remote", "--tag", "v1")

    assert result.status == 4
    assert "iam --create" in result.err


def test_remote_push_needs_bucket_in_region(chandra, wire, cloud):
    where = {"LocationConstraint": "eu-west-1"}
    wire.call("s3", "create_bucket", Bucket="weights", CreateBucketConfiguration=where)
    wire.call("iam", "create_role", RoleName="ocr-build", AssumeRolePolicyDocument="{}")
    cloud.calls.clear()

    result = chandra("image", "push", "--remote", "--tag", "v1")

    assert result.status == 2
    assert "CodeBuild reads the build context from us-east-1 only" in result.err
    assert "s3:PUT" not in cloud.calls


def describe_build(status):
    return {"builds": [{"id": "b", "buildStatus": status, "currentPhase": "BUILD"}]}


def wait_for_build(script, aws, *statuses):
    """Wait for a build that has these statuses in turn; return the printed lines."""
    codebuild, logs = script("codebuild"), script("logs")
    for status in statuses:
        codebuild.expects("batch_get_builds", ids=["b"]).answers(
            **describe_build(status)
        )
        logs.expects("filter_log_events").answers(
            events=[
                {
                    "eventId": status,
                    "timestamp": 1,
                    "logStreamName": "s",
                    "message": f"line while {status}\n",
                }
            ]
        )
    output: list[str] = []
    slept: list[float] = []
    with codebuild, logs:
        Builds(aws, configured(), IDENTITY).wait(
            "b",
            output.append,
            clock=lambda: 100.0 * len(slept),
            sleep=slept.append,
            timeout_seconds=150,
        )
    return output


def test_build_log_is_shown_until_end(script, aws):
    assert wait_for_build(script, aws, "IN_PROGRESS", "SUCCEEDED") == [
        "  | line while IN_PROGRESS",
        "  | line while SUCCEEDED",
    ]


def test_failed_build_names_its_phase(script, aws):
    with pytest.raises(ResourceFailedError, match="FAILED in phase BUILD"):
        wait_for_build(script, aws, "FAILED")


def test_build_timeout_leaves_build_running(script, aws):
    with pytest.raises(WaitTimeoutError, match="not finished and continues") as caught:
        wait_for_build(script, aws, "IN_PROGRESS", "IN_PROGRESS", "IN_PROGRESS")

    assert "--remote again" in (caught.value.hint or "")


def test_overruled_image_is_reported(chandra, tmp_path):
    archive = str(write_archive(tmp_path / "image.tar"))

    result = chandra("image", "push", "--archive", archive, "--tag", "v1")

    assert "chandra.toml sets image.uri, which is used in its place" in result.out


def test_dry_run_of_push_shows_commands(chandra, cloud, runner):
    result = chandra("image", "push", "--dry-run")

    assert result.status == 0, result.err
    assert "would create repository" in result.out
    assert "would run docker buildx build" in result.out
    assert runner.ran == []
    assert cloud.changes == []

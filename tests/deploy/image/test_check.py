"""Platform, CUDA and tag in `image check` and in pushes of archives."""

from __future__ import annotations

import gzip
import json

import pytest

from deploy.endpoint.inspection import image_findings
from deploy.image.manifest import DOCKER
from deploy.image.registry import download_blob
from tests.deploy.accounts import configured
from tests.deploy.images import (
    OCI,
    OCI_INDEX,
    REPOSITORY,
    digest,
    docker_digest,
    encoded,
    image_config,
    oci_files,
    oci_index,
    oci_manifest,
    packed,
    put_image,
    write_archive,
)

AMI = "al2-ami-sagemaker-inference-gpu-3-1"
ARM64_CONFIG = image_config("linux/arm64")
CONFIG_WITHOUT_CUDA = image_config()
CUDA_13_CONFIG = image_config(
    env=["CUDA_VERSION=13.0", "NVIDIA_REQUIRE_CUDA=cuda>=13.0"]
)


@pytest.fixture(autouse=True)
def _repository(repository):
    """Create the repository before any other fixture uses the registry."""


# Platform


@pytest.mark.parametrize("media_type", [DOCKER, OCI])
def test_arm64_image_in_ecr_is_refused(chandra, push_image, media_type):
    push_image("v1", ARM64_CONFIG, media_type)

    result = chandra("image", "check", "--tag", "v1")
    data = chandra("image", "check", "--tag", "v1", "--json").json

    assert result.status == 6
    assert f"{REPOSITORY}:v1 is {media_type}, linux/arm64" in result.out
    assert (
        "SageMaker does not accept it: its GPU machines are linux/amd64" in result.out
    )
    assert "--fix" not in result.out
    assert (data["platform"], data["taken_by_sagemaker"]) == ("linux/arm64", False)


def test_arm64_image_is_not_repaired(chandra, push_image, cloud):
    push_image("v1", ARM64_CONFIG, OCI)
    cloud.calls.clear()

    result = chandra("image", "check", "--tag", "v1", "--fix")

    assert result.status == 6
    assert "another manifest does not make it run on SageMaker" in result.err
    assert cloud.changes == []


def test_check_names_the_amd64_image_of_an_index(chandra, push_image, wire):
    child = push_image("child", image_config(), OCI)
    index = oci_index(("linux", "arm64", "sha256:" + "a" * 64),
                      ("linux", "amd64", child))  # fmt: skip
    put_image(wire, index, "v1", OCI_INDEX)

    result = chandra("image", "check", "--tag", "v1")

    assert f"its linux/amd64 image is {child}" in result.out
    assert "next: chandra-sagemaker image check --fix --tag v1" in result.out


def test_index_without_amd64_is_not_repairable(chandra, wire):
    index = oci_index(("linux", "arm64", "sha256:" + "a" * 64))
    put_image(wire, index, "v1", OCI_INDEX)

    result = chandra("image", "check", "--tag", "v1")

    assert result.status == 6
    assert "linux/arm64" in result.out
    assert "image push builds one for linux/amd64" in result.out


@pytest.mark.usefixtures("staged")
def test_arm64_image_is_not_deployed(chandra, push_image, project, cloud):
    image_digest = push_image("v1", ARM64_CONFIG)
    project(
        image=f"123456789012.dkr.ecr.us-east-1.amazonaws.com/{REPOSITORY}@{image_digest}"
    )
    cloud.calls.clear()

    plan = chandra("plan")
    deploy = chandra("deploy")

    assert plan.status == 1
    assert "refused: the image is for linux/arm64" in plan.out
    assert deploy.status == 2
    assert cloud.changes == []


# CUDA


def test_cuda_of_image_precedes_configured_cuda(chandra, push_image):
    push_image("v1", CUDA_13_CONFIG)

    result = chandra("image", "check", "--tag", "v1")
    data = chandra("image", "check", "--tag", "v1", "--json").json

    assert "built for CUDA 13.0, and driver 550" in result.out
    assert (data["cuda"], data["cuda_source"]) == ("13.0", "CUDA_VERSION")


def test_image_without_suitable_driver_is_refused(chandra, push_image):
    push_image("v1", CUDA_13_CONFIG)

    result = chandra("image", "check", "--tag", "v1")
    data = chandra("image", "check", "--tag", "v1", "--json").json

    assert result.status == 6
    assert (
        "SageMaker accepts its manifest, but its machines cannot run it" in result.out
    )
    assert data["taken_by_sagemaker"] is False


def test_archive_without_suitable_driver_is_refused(chandra, tmp_path):
    path = str(write_archive(tmp_path / "image.tar", CUDA_13_CONFIG, tag="ocr:v1.2"))

    result = chandra("image", "check", "--archive", path)
    data = chandra("image", "check", "--archive", path, "--json").json
    pushed = chandra("image", "push", "--archive", path)

    assert result.status == pushed.status == 6
    assert "next:" not in result.out
    assert data["taken_by_sagemaker"] is False


def test_archive_is_accepted_with_suitable_ami(chandra, tmp_path, project):
    path = str(write_archive(tmp_path / "image.tar", CUDA_13_CONFIG, tag="ocr:v1.2"))
    project('[endpoint]\nami = "al2023-ami-sagemaker-inference-gpu-4-1"\n')

    result = chandra("image", "check", "--archive", path, "--json")

    assert result.status == 0, result.err
    assert result.json["taken_by_sagemaker"] is True


def test_image_without_cuda_is_unknown(chandra, push_image):
    push_image("v1", CONFIG_WITHOUT_CUDA)

    result = chandra("image", "check", "--tag", "v1")
    data = chandra("image", "check", "--tag", "v1", "--json").json

    assert result.status == 0
    assert f"the driver of {AMI} was not compared" in result.out
    assert "12.8 runs" not in result.out
    assert data["cuda"] is None


def test_configured_cuda_is_used_if_the_image_names_none(chandra, push_image, tmp_path):
    push_image("v1", CONFIG_WITHOUT_CUDA)
    path = tmp_path / "chandra.toml"
    path.write_text(path.read_text().replace("[model]", 'cuda = "12.6"\n[model]'))

    result = chandra("image", "check", "--tag", "v1")

    assert f"CUDA 12.6 (image.cuda in chandra.toml) runs on the driver of {AMI}" in (
        result.out
    )


@pytest.mark.parametrize("command", ["deploy", "update", "plan"])
@pytest.mark.usefixtures("staged")
def test_configured_cuda_is_not_used_for_another_image(
    chandra, push_image, tmp_path, command
):
    path = tmp_path / "chandra.toml"
    path.write_text(path.read_text().replace("[model]", 'cuda = "12.8"\n[model]'))
    assert chandra("deploy").status == 0
    registry = f"123456789012.dkr.ecr.us-east-1.amazonaws.com/{REPOSITORY}"
    other = f"{registry}@{push_image('v1', CONFIG_WITHOUT_CUDA)}"
    flags = () if command == "plan" else ("--dry-run",)

    result = chandra(command, "--image", other, *flags)
    own = chandra("plan", "--offline")

    assert result.status == 0, result.err
    assert (
        "it is not known for which CUDA the image is built" in result.out + result.err
    )
    assert "it is not known for which CUDA" not in own.out


def test_own_image_runs_on_default_driver(chandra, push_image):
    push_image("v1", image_config(labels={"chandra.cuda-version": "12.8"}))

    result = chandra("image", "check", "--tag", "v1")

    assert f"CUDA 12.8 (label chandra.cuda-version) runs on the driver of {AMI}" in (
        result.out
    )


@pytest.mark.parametrize(
    ("config", "status", "words"),
    [
        (CUDA_13_CONFIG, 1, "refused: the image is built for CUDA 13.0"),
        (
            CONFIG_WITHOUT_CUDA,
            0,
            "note: it is not known for which CUDA the image is built",
        ),
    ],
    ids=["cuda-13", "silent"],
)
@pytest.mark.usefixtures("staged")
def test_plan_compares_cuda_of_image(
    chandra, push_image, project, config, status, words
):
    image_digest = push_image("v1", config)
    project(
        image=f"123456789012.dkr.ecr.us-east-1.amazonaws.com/{REPOSITORY}@{image_digest}"
    )

    result = chandra("plan")

    assert result.status == status
    assert words in result.out


@pytest.mark.parametrize(
    ("ami", "is_fatal"),
    [
        ("al2023-ami-sagemaker-inference-gpu-4-1", []),
        (AMI, [True]),
        ("al2-ami-sagemaker-batch-gpu-535", [True]),
        ("another-ami", []),
    ],
)
def test_cuda_is_compared_with_driver_of_ami(wire, push_image, ami, is_fatal):
    image_digest = push_image("v1", CUDA_13_CONFIG)
    uri = f"123456789012.dkr.ecr.us-east-1.amazonaws.com/{REPOSITORY}@{image_digest}"

    findings = image_findings(wire, configured(image={"uri": uri}), ami=ami)

    assert [finding.is_fatal for finding in findings] == is_fatal


def test_offline_plan_reports_uncompared_cuda(chandra):
    result = chandra("plan", "--offline")

    assert result.status == 0, result.err
    assert "the registry, which an offline plan does not call" in result.out


@pytest.mark.usefixtures("staged")
def test_unreadable_configuration_is_a_note(chandra, cloud):
    cloud.forbidden = {"ecr:GetDownloadUrlForLayer"}

    result = chandra("plan")

    assert result.status == 0, result.err
    assert "note: the configuration of the image could not be read" in result.out
    assert "try: chandra-sagemaker iam --caller" in result.out
    assert "not known for which CUDA" in result.out


@pytest.mark.usefixtures("staged")
def test_check_of_unreadable_image_makes_no_claim(chandra, push_image, cloud):
    push_image("v1", CUDA_13_CONFIG)
    cloud.forbidden = {"ecr:GetDownloadUrlForLayer"}

    result = chandra("image", "check", "--tag", "v1")

    assert result.status == 0
    assert "whether its machines run it is not known" in result.out
    assert "runs on the driver" not in result.out


def test_recorded_cuda_of_earlier_version_is_ignored(
    chandra, push_image, tmp_path, unset_image
):
    image_digest = push_image("v1", CONFIG_WITHOUT_CUDA)
    lock = {
        "image": {"uri": f"r/{REPOSITORY}@{image_digest}", "tag": "v1", "cuda": "12.8"}
    }
    (tmp_path / "chandra.lock.json").write_text(json.dumps(lock))

    data = chandra("image", "check", "--json").json

    assert data["cuda"] is None


@pytest.mark.parametrize("address", ["http://example.com/x", "file:///etc/passwd"])
def test_blobs_are_fetched_from_https_only(address):
    with pytest.raises(ValueError, match="not https"):
        download_blob(address)


# Archives


def test_archive_is_checked_without_aws(chandra, cloud, tmp_path):
    config = image_config(labels={"chandra.cuda-version": "12.8"})
    path = write_archive(tmp_path / "image.tar", config, tag="ocr:v1.2")

    result = chandra("image", "check", "--archive", str(path))

    assert result.status == 0, result.err
    assert "for linux/amd64, tagged v1.2" in result.out
    assert (
        f"pushed, it is {REPOSITORY}:v1.2, digest {docker_digest(config)}" in result.out
    )
    assert "CUDA 12.8 (label chandra.cuda-version) runs" in result.out
    assert f"next: chandra-sagemaker image push --archive {path}\n" in result.out
    assert cloud.calls == []


def test_an_archive_for_arm64_is_refused(chandra, cloud, tmp_path):
    path = str(write_archive(tmp_path / "arm.tar", ARM64_CONFIG))

    checked = chandra("image", "check", "--archive", path)
    pushed = chandra("image", "push", "--archive", path, "--tag", "v1")

    assert checked.status == pushed.status == 2
    assert "is for linux/arm64" in checked.err
    assert "is for linux/arm64" in pushed.err
    assert cloud.changes == []


@pytest.mark.parametrize("compress", [bytes, gzip.compress], ids=["plain", "gzip"])
def test_an_archive_with_dot_slash_names_is_pushed(chandra, tmp_path, compress):
    files = {f"./{name}": content for name, content in oci_files().items()}
    path = tmp_path / "image.tar"
    path.write_bytes(compress(packed(files)))

    result = chandra("image", "push", "--archive", str(path), "--tag", "v1")

    assert result.status == 0, result.err
    assert "SageMaker accepts it" in result.out


def test_an_archive_is_pushed_under_its_own_tag(chandra, tmp_path):
    path = str(write_archive(tmp_path / "image.tar", tag="v1.2"))

    result = chandra("image", "push", "--archive", path)

    assert result.status == 0, result.err
    assert f"{REPOSITORY}:v1.2 is {DOCKER}, linux/amd64" in result.out


def test_an_archive_with_two_tags_is_pushed_with_flag_only(chandra, tmp_path):
    files = oci_files(tag="v1")
    index = json.loads(files["index.json"])
    (first,) = index["manifests"]
    second = first | {"annotations": {"org.opencontainers.image.ref.name": "v2"}}
    index["manifests"] = [first, second]
    path = tmp_path / "image.tar"
    path.write_bytes(packed(files | {"index.json": json.dumps(index).encode()}))

    checked = chandra("image", "check", "--archive", str(path))
    refused = chandra("image", "push", "--archive", str(path))
    pushed = chandra("image", "push", "--archive", str(path), "--tag", "v1")

    assert "tagged v1 and v2" in checked.out
    assert f"--archive {path} --tag NAME" in checked.out
    assert refused.status == 2
    assert "gives its image 2 tags, v1 and v2" in refused.err
    assert pushed.status == 0, pushed.err
    assert f"{REPOSITORY}:v1 is {DOCKER}, linux/amd64" in pushed.out


def test_dry_run_of_archive_shows_tags_and_digest(chandra, cloud, tmp_path):
    path = write_archive(tmp_path / "image.tar", CONFIG_WITHOUT_CUDA, tag="v1")
    cloud.calls.clear()

    result = chandra(
        "image", "push", "--archive", str(path), "--tag", "v2", "--dry-run"
    )
    data = chandra("image", "push", "--archive", str(path), "--tag", "v2", "--dry-run",
                   "--json").json  # fmt: skip

    assert f"would put image {REPOSITORY}:v2" in result.out
    assert "tagged v1" in result.out
    assert (
        f"pushed, it is {REPOSITORY}:v2, digest {docker_digest(CONFIG_WITHOUT_CUDA)}"
        in result.out
    )
    assert (data["tag"], data["archive_tag"]) == ("v2", "v1")
    assert data["archive_digest"] == digest(
        encoded(oci_manifest(config=CONFIG_WITHOUT_CUDA))
    )
    assert cloud.changes == []


def test_dry_run_shows_digest_of_push(chandra, tmp_path):
    path = str(write_archive(tmp_path / "image.tar", CONFIG_WITHOUT_CUDA))
    push = ("image", "push", "--archive", path, "--tag", "v1", "--json")

    dry_run = chandra(*push, "--dry-run").json
    pushed = chandra(*push).json
    second_dry_run = chandra(*push, "--dry-run").json

    assert dry_run["digest"] == pushed["digest"] == second_dry_run["digest"]
    assert (dry_run["pushed"], second_dry_run["pushed"]) == (False, False)


def test_tag_of_another_image_is_a_conflict(chandra, push_image, cloud, tmp_path):
    image_digest = push_image("v1", image_config(labels={"a": "b"}))
    path = str(write_archive(tmp_path / "image.tar"))
    cloud.calls.clear()

    result = chandra("image", "push", "--archive", path, "--tag", "v1")

    assert result.status == 5
    assert f"{REPOSITORY}:v1 is {image_digest} already" in result.err
    assert cloud.changes == []
    assert not (tmp_path / "chandra.lock.json").exists()


@pytest.mark.parametrize("flag", ["--fix", "--remote"])
def test_repair_of_file_is_refused(chandra, tmp_path, flag):
    path = str(write_archive(tmp_path / "image.tar"))
    action = "check" if flag == "--fix" else "push"

    result = chandra("image", action, "--archive", path, flag)

    assert result.status == 2
    assert "--archive names a file" in result.err

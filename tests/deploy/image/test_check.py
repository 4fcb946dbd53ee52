"""Platform, CUDA and tag in `image check` and in pushes of archives."""

from __future__ import annotations

import gzip
import json

import pytest

from deploy.endpoint.inspection import image_findings
from deploy.image.manifest import DOCKER, to_docker_manifest
from deploy.image.registry import download
from tests.deploy.accounts import configured
from tests.deploy.images import (
    OCI,
    OCI_INDEX,
    REPOSITORY,
    digest,
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
ARM = image_config("linux/arm64")
SILENT = image_config()
CUDA_13 = image_config(env=["CUDA_VERSION=13.0", "NVIDIA_REQUIRE_CUDA=cuda>=13.0"])


@pytest.fixture(autouse=True)
def _repository(wire, cloud):
    wire.call("ecr", "create_repository", repositoryName=REPOSITORY,
              imageTagMutability="IMMUTABLE")  # fmt: skip
    cloud.calls.clear()


@pytest.fixture
def put(wire):
    """Return a function that pushes an image and returns its digest."""

    def image(tag, config, media_type=DOCKER):
        manifest = oci_manifest(config=config)
        if media_type == DOCKER:
            manifest = to_docker_manifest(manifest)
        return put_image(wire, manifest, tag, media_type, config=config)

    return image


@pytest.fixture
def unset_image(tmp_path):
    """Remove the image from chandra.toml, so that the lock file names it."""
    path = tmp_path / "chandra.toml"
    path.write_text(path.read_text().replace("uri =", "# uri ="))


def docker_digest(config):
    """Return the digest of the Docker manifest that a push makes for an archive."""
    text = json.dumps(
        to_docker_manifest(oci_manifest(config=config)), separators=(",", ":")
    )
    return digest(text.encode())


# Platform


@pytest.mark.parametrize("media_type", [DOCKER, OCI])
def test_arm64_image_in_ecr_is_refused(chandra, put, media_type):
    put("v1", ARM, media_type)

    ran = chandra("image", "check", "--tag", "v1")
    data = chandra("image", "check", "--tag", "v1", "--json").json

    assert ran.status == 6
    assert f"{REPOSITORY}:v1 is {media_type}, linux/arm64" in ran.out
    assert "SageMaker does not take it: its GPU machines are linux/amd64" in ran.out
    assert "--fix" not in ran.out
    assert (data["platform"], data["taken_by_sagemaker"]) == ("linux/arm64", False)


def test_arm64_image_is_not_repaired(chandra, put, cloud):
    put("v1", ARM, OCI)
    cloud.calls.clear()

    ran = chandra("image", "check", "--tag", "v1", "--fix")

    assert ran.status == 6
    assert "another manifest does not make it run on SageMaker" in ran.err
    assert cloud.changes == []


def test_check_names_the_amd64_image_of_an_index(chandra, put, wire):
    child = put("child", image_config(), OCI)
    index = oci_index(("linux", "arm64", "sha256:" + "a" * 64),
                      ("linux", "amd64", child))  # fmt: skip
    put_image(wire, index, "v1", OCI_INDEX)

    ran = chandra("image", "check", "--tag", "v1")

    assert f"its linux/amd64 image is {child}" in ran.out
    assert "next: chandra-sagemaker image check --fix --tag v1" in ran.out


def test_index_without_amd64_is_not_repairable(chandra, wire):
    index = oci_index(("linux", "arm64", "sha256:" + "a" * 64))
    put_image(wire, index, "v1", OCI_INDEX)

    ran = chandra("image", "check", "--tag", "v1")

    assert ran.status == 6
    assert "linux/arm64" in ran.out
    assert "image push builds one for linux/amd64" in ran.out


@pytest.mark.usefixtures("staged")
def test_arm64_image_is_not_deployed(chandra, put, project, cloud):
    name = put("v1", ARM)
    project(image=f"123456789012.dkr.ecr.us-east-1.amazonaws.com/{REPOSITORY}@{name}")
    cloud.calls.clear()

    plan = chandra("plan")
    deploy = chandra("deploy")

    assert plan.status == 1
    assert "refused: the image is for linux/arm64" in plan.out
    assert deploy.status == 2
    assert cloud.changes == []


# CUDA


def test_cuda_of_image_precedes_configured_cuda(chandra, put):
    put("v1", CUDA_13)

    ran = chandra("image", "check", "--tag", "v1")
    data = chandra("image", "check", "--tag", "v1", "--json").json

    assert "built for CUDA 13.0, and driver 550" in ran.out
    assert (data["cuda"], data["cuda_source"]) == ("13.0", "CUDA_VERSION")


def test_image_without_suitable_driver_is_refused(chandra, put):
    put("v1", CUDA_13)

    ran = chandra("image", "check", "--tag", "v1")
    data = chandra("image", "check", "--tag", "v1", "--json").json

    assert ran.status == 6
    assert "SageMaker takes its manifest, but its machines cannot run it" in ran.out
    assert data["taken_by_sagemaker"] is False


def test_archive_without_suitable_driver_is_refused(chandra, tmp_path):
    path = str(write_archive(tmp_path / "image.tar", CUDA_13, tag="ocr:v1.2"))

    ran = chandra("image", "check", "--archive", path)
    data = chandra("image", "check", "--archive", path, "--json").json
    pushed = chandra("image", "push", "--archive", path)

    assert ran.status == pushed.status == 6
    assert "next:" not in ran.out
    assert data["taken_by_sagemaker"] is False


def test_archive_is_accepted_with_suitable_ami(chandra, tmp_path, project):
    path = str(write_archive(tmp_path / "image.tar", CUDA_13, tag="ocr:v1.2"))
    project('[endpoint]\nami = "al2023-ami-sagemaker-inference-gpu-4-1"\n')

    ran = chandra("image", "check", "--archive", path, "--json")

    assert ran.status == 0, ran.err
    assert ran.json["taken_by_sagemaker"] is True


def test_image_without_cuda_is_unknown(chandra, put):
    put("v1", SILENT)

    ran = chandra("image", "check", "--tag", "v1")
    data = chandra("image", "check", "--tag", "v1", "--json").json

    assert ran.status == 0
    assert f"the driver of {AMI} was not compared" in ran.out
    assert "12.8 runs" not in ran.out
    assert data["cuda"] is None


def test_configured_cuda_is_used_if_the_image_names_none(chandra, put, tmp_path):
    put("v1", SILENT)
    path = tmp_path / "chandra.toml"
    path.write_text(path.read_text().replace("[model]", 'cuda = "12.6"\n[model]'))

    ran = chandra("image", "check", "--tag", "v1")

    assert f"CUDA 12.6 (image.cuda in chandra.toml) runs on the driver of {AMI}" in (
        ran.out
    )


@pytest.mark.parametrize("command", ["deploy", "update", "plan"])
@pytest.mark.usefixtures("staged")
def test_configured_cuda_is_not_used_for_another_image(chandra, put, tmp_path, command):
    path = tmp_path / "chandra.toml"
    path.write_text(path.read_text().replace("[model]", 'cuda = "12.8"\n[model]'))
    assert chandra("deploy").status == 0
    registry = f"123456789012.dkr.ecr.us-east-1.amazonaws.com/{REPOSITORY}"
    other = f"{registry}@{put('v1', SILENT)}"
    flags = () if command == "plan" else ("--dry-run",)

    ran = chandra(command, "--image", other, *flags)
    own = chandra("plan", "--offline")

    assert ran.status == 0, ran.err
    assert "it is not known for which CUDA the image is built" in ran.out + ran.err
    assert "it is not known for which CUDA" not in own.out


def test_own_image_runs_on_default_driver(chandra, put):
    put("v1", image_config(labels={"chandra.cuda-version": "12.8"}))

    ran = chandra("image", "check", "--tag", "v1")

    assert f"CUDA 12.8 (label chandra.cuda-version) runs on the driver of {AMI}" in (
        ran.out
    )


@pytest.mark.parametrize(
    ("config", "status", "words"),
    [
        (CUDA_13, 1, "refused: the image is built for CUDA 13.0"),
        (SILENT, 0, "note: it is not known for which CUDA the image is built"),
    ],
    ids=["cuda-13", "silent"],
)
@pytest.mark.usefixtures("staged")
def test_plan_compares_cuda_of_image(chandra, put, project, config, status, words):
    name = put("v1", config)
    project(image=f"123456789012.dkr.ecr.us-east-1.amazonaws.com/{REPOSITORY}@{name}")

    ran = chandra("plan")

    assert ran.status == status
    assert words in ran.out


@pytest.mark.parametrize(
    ("ami", "is_fatal"),
    [
        ("al2023-ami-sagemaker-inference-gpu-4-1", []),
        (AMI, [True]),
        ("al2-ami-sagemaker-batch-gpu-535", [True]),
        ("another-ami", []),
    ],
)
def test_cuda_is_compared_with_driver_of_ami(wire, put, ami, is_fatal):
    name = put("v1", CUDA_13)
    uri = f"123456789012.dkr.ecr.us-east-1.amazonaws.com/{REPOSITORY}@{name}"

    response = image_findings(wire, configured(image={"uri": uri}), ami=ami)

    assert [finding.is_fatal for finding in response] == is_fatal


def test_offline_plan_reports_uncompared_cuda(chandra):
    ran = chandra("plan", "--offline")

    assert ran.status == 0, ran.err
    assert "the registry, which an offline plan does not call" in ran.out


@pytest.mark.usefixtures("staged")
def test_unreadable_configuration_is_a_note(chandra, cloud):
    cloud.forbidden = {"ecr:GetDownloadUrlForLayer"}

    ran = chandra("plan")

    assert ran.status == 0, ran.err
    assert "note: the configuration of the image could not be read" in ran.out
    assert "try: chandra-sagemaker iam --caller" in ran.out
    assert "not known for which CUDA" in ran.out


@pytest.mark.usefixtures("staged")
def test_check_of_unreadable_image_makes_no_claim(chandra, put, cloud):
    put("v1", CUDA_13)
    cloud.forbidden = {"ecr:GetDownloadUrlForLayer"}

    ran = chandra("image", "check", "--tag", "v1")

    assert ran.status == 0
    assert "whether its machines run it is not known" in ran.out
    assert "runs on the driver" not in ran.out


def test_recorded_cuda_of_earlier_version_is_ignored(
    chandra, put, tmp_path, unset_image
):
    name = put("v1", SILENT)
    lock = {"image": {"uri": f"r/{REPOSITORY}@{name}", "tag": "v1", "cuda": "12.8"}}
    (tmp_path / "chandra.lock.json").write_text(json.dumps(lock))

    data = chandra("image", "check", "--json").json

    assert data["cuda"] is None


@pytest.mark.parametrize("address", ["http://example.com/x", "file:///etc/passwd"])
def test_blobs_are_fetched_from_https_only(address):
    with pytest.raises(ValueError, match="not https"):
        download(address)


# Tags


def test_check_names_pushed_tag(chandra, tmp_path, unset_image):
    archive = str(write_archive(tmp_path / "image.tar"))
    for tag in ("one", "two"):
        assert chandra("image", "push", "--archive", archive, "--tag", tag).status == 0

    ran = chandra("image", "check")

    assert f"{REPOSITORY}:two is" in ran.out
    assert chandra("image", "check", "--json").json["tag"] == "two"


def test_untagged_image_is_named_by_digest(chandra, wire, project):
    manifest = encoded(to_docker_manifest(oci_manifest())).decode()
    answer = wire.call(
        "ecr",
        "put_image",
        repositoryName=REPOSITORY,
        imageManifest=manifest,
        imageManifestMediaType=DOCKER,
    )
    name = answer["image"]["imageId"]["imageDigest"]
    project(image=f"123456789012.dkr.ecr.us-east-1.amazonaws.com/{REPOSITORY}@{name}")

    ran = chandra("image", "check")

    assert ran.out.startswith(f"{REPOSITORY}@{name} is {DOCKER}")
    assert chandra("image", "check", "--json").json["tag"] is None


def test_check_reports_that_deployments_use_another_image(chandra, put):
    put("v1", image_config())

    ran = chandra("image", "check", "--tag", "v1")

    assert "note: deployments use sha256:aaaa" in ran.out


def test_dry_run_of_repair_shows_image(chandra, put):
    put("v1", image_config(), OCI)

    ran = chandra("image", "check", "--tag", "v1", "--fix", "--dry-run", "--json")

    assert ran.json["fixed"] == {
        "tag": "v1-v2s2",
        "digest": docker_digest(image_config()),
    }


# Archives


def test_archive_is_checked_without_aws(chandra, cloud, tmp_path):
    config = image_config(labels={"chandra.cuda-version": "12.8"})
    path = write_archive(tmp_path / "image.tar", config, tag="ocr:v1.2")

    ran = chandra("image", "check", "--archive", str(path))

    assert ran.status == 0, ran.err
    assert "for linux/amd64, tagged v1.2" in ran.out
    assert f"pushed, it is {REPOSITORY}:v1.2, digest {docker_digest(config)}" in ran.out
    assert "CUDA 12.8 (label chandra.cuda-version) runs" in ran.out
    assert f"next: chandra-sagemaker image push --archive {path}\n" in ran.out
    assert cloud.calls == []


def test_an_archive_for_arm64_is_refused(chandra, cloud, tmp_path):
    path = str(write_archive(tmp_path / "arm.tar", ARM))

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

    ran = chandra("image", "push", "--archive", str(path), "--tag", "v1")

    assert ran.status == 0, ran.err
    assert "SageMaker takes it" in ran.out


def test_an_archive_is_pushed_under_its_own_tag(chandra, tmp_path):
    path = str(write_archive(tmp_path / "image.tar", tag="v1.2"))

    ran = chandra("image", "push", "--archive", path)

    assert ran.status == 0, ran.err
    assert f"{REPOSITORY}:v1.2 is {DOCKER}, linux/amd64" in ran.out


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
    path = write_archive(tmp_path / "image.tar", SILENT, tag="v1")
    cloud.calls.clear()

    ran = chandra("image", "push", "--archive", str(path), "--tag", "v2", "--dry-run")
    data = chandra("image", "push", "--archive", str(path), "--tag", "v2", "--dry-run",
                   "--json").json  # fmt: skip

    assert f"would put image {REPOSITORY}:v2" in ran.out
    assert "tagged v1" in ran.out
    assert f"pushed, it is {REPOSITORY}:v2, digest {docker_digest(SILENT)}" in ran.out
    assert (data["tag"], data["archive_tag"]) == ("v2", "v1")
    assert data["archive_digest"] == digest(encoded(oci_manifest(config=SILENT)))
    assert cloud.changes == []


def test_dry_run_shows_digest_of_push(chandra, tmp_path):
    path = str(write_archive(tmp_path / "image.tar", SILENT))
    push = ("image", "push", "--archive", path, "--tag", "v1", "--json")

    dry = chandra(*push, "--dry-run").json
    real = chandra(*push).json
    again = chandra(*push, "--dry-run").json

    assert dry["digest"] == real["digest"] == again["digest"]
    assert (dry["pushed"], again["pushed"]) == (False, False)


def test_tag_of_another_image_is_a_conflict(chandra, put, cloud, tmp_path):
    name = put("v1", image_config(labels={"a": "b"}))
    path = str(write_archive(tmp_path / "image.tar"))
    cloud.calls.clear()

    ran = chandra("image", "push", "--archive", path, "--tag", "v1")

    assert ran.status == 5
    assert f"{REPOSITORY}:v1 is {name} already" in ran.err
    assert cloud.changes == []
    assert not (tmp_path / "chandra.lock.json").exists()


@pytest.mark.parametrize("flag", ["--fix", "--remote"])
def test_repair_of_file_is_refused(chandra, tmp_path, flag):
    path = str(write_archive(tmp_path / "image.tar"))
    action = "check" if flag == "--fix" else "push"

    ran = chandra("image", action, "--archive", path, flag)

    assert ran.status == 2
    assert "--archive names a file" in ran.err

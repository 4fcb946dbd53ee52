"""The commands `doctor` and `init`."""

from __future__ import annotations

import json
import re
import shutil
import tomllib

import pytest

from deploy.commands.init import EXAMPLE
from deploy.config import DeployConfig, config_from
from deploy.weights.files import MANIFEST, build_manifest, read_weights
from deploy.weights.store import Store
from tests.deploy.images import write_archive


def create_prerequisites(chandra, wire, tmp_path):
    """Create roles, push an image and stage weights, so that every check passes."""
    wire.call("s3", "create_bucket", Bucket="weights")
    archive = str(write_archive(tmp_path / "image.tar"))
    path = tmp_path / "chandra.toml"
    for setting in ("uri", "revision"):
        path.write_text(path.read_text().replace(f"{setting} =", f"# {setting} ="))
    assert chandra("iam", "--create").status == 0
    assert chandra("image", "push", "--archive", archive, "--tag", "v1").status == 0
    assert chandra("model", "stage").status == 0


def test_doctor_lists_each_check_that_passes(chandra, wire, tmp_path):
    create_prerequisites(chandra, wire, tmp_path)

    ran = chandra("doctor")

    assert ran.status == 0, ran.out
    assert ran.out.splitlines() == [
        "ok    machines",
        "ok    region",
        "ok    credentials",
        "ok    quotas",
        "ok    role",
        "ok    weights",
        "ok    image",
        "ok    network",
        "next: chandra-sagemaker plan, then deploy",
    ]


def test_pushed_image_and_staged_weights_are_deployed(chandra, wire, tmp_path, cloud):
    create_prerequisites(chandra, wire, tmp_path)

    ran = chandra("deploy")

    assert ran.status == 0, ran.err
    assert cloud.machines["ocr"].status == "InService"


def test_problems_are_listed_with_the_next_command(chandra, cloud):
    cloud.limits = {"ml.g6e.2xlarge": 0}

    ran = chandra("doctor")

    assert ran.status == 1
    for name in ("quotas", "role", "weights"):
        assert f"wrong {name}: " in ran.out
    assert "request-service-quota-increase" in ran.out
    assert "chandra-sagemaker iam --create" in ran.out


def test_bucket_in_another_region_is_found(chandra, wire):
    wire.call(
        "s3",
        "create_bucket",
        Bucket="weights",
        CreateBucketConfiguration={"LocationConstraint": "eu-west-1"},
    )

    ran = chandra("doctor")

    assert "bucket weights is in eu-west-1" in ran.out


def test_bucket_is_checked_before_staging(chandra, wire, tmp_path):
    path = tmp_path / "chandra.toml"
    path.write_text(path.read_text().replace("revision =", "# revision ="))

    gone = chandra("doctor").out
    wire.call(
        "s3",
        "create_bucket",
        Bucket="weights",
        CreateBucketConfiguration={"LocationConstraint": "eu-west-1"},
    )
    elsewhere = chandra("doctor").out

    assert "wrong weights: s3 get_bucket_location: The specified bucket does" in gone
    assert "wrong weights: bucket weights is in eu-west-1" in elsewhere


def test_doctor_without_a_file_is_an_error(chandra, tmp_path):
    (tmp_path / "chandra.toml").unlink()

    ran = chandra("doctor")

    assert ran.status == 2
    assert ran.err.splitlines()[-1] == "try:   chandra-sagemaker init"


def test_outdated_policy_is_found(chandra, wire, tmp_path, project):
    chandra("iam", "--create")
    project('[network]\nkms_key = "alias/ocr"\n')

    ran = chandra("doctor")

    assert "is not the one for this chandra.toml" in ran.out


def test_role_that_sagemaker_may_not_assume_is_found(chandra, wire, tmp_path):
    path = tmp_path / "chandra.toml"
    role = 'role = "arn:aws:iam::123456789012:role/mine"\n'
    path.write_text(role + path.read_text())
    wire.call("iam", "create_role", RoleName="mine", AssumeRolePolicyDocument="{}")

    ran = chandra("doctor")

    assert "sagemaker.amazonaws.com is not allowed to assume role mine" in ran.out


@pytest.fixture
def folder(tmp_path):
    """Folder of weights with their manifest, as in the cache of a server."""
    folder = tmp_path / "cache" / "0123abcd"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(bytes(3_000_000))
    manifest = build_manifest(read_weights(folder, "acme/ocr", "r1"), "ocr")
    (folder / MANIFEST).write_text(json.dumps(manifest))
    return folder


def change_last_byte(path):
    with path.open("r+b") as file:
        file.seek(-1, 2)
        file.write(b"\xff")


def test_intact_weights_in_a_folder_pass(chandra, folder, tmp_path):
    (tmp_path / "chandra.toml").unlink()

    ran = chandra("doctor", "--weights", str(folder))

    assert ran.status == 0, ran.err
    assert ran.out.splitlines() == [
        f"ok    {folder}",
        "every file has the sha256 that its manifest gives",
    ]


def test_a_damaged_file_of_the_same_size_is_found(chandra, folder):
    change_last_byte(folder / "model.safetensors")

    ran = chandra("doctor", "--weights", str(folder))

    assert ran.status == 1
    assert f"wrong weights: model.safetensors in {folder} is damaged" in ran.out
    assert "try: copy the weights again" in ran.out


def test_all_weights_in_a_servers_cache_are_hashed(chandra, folder):
    other = shutil.copytree(folder, folder.with_name("4567cdef"))
    change_last_byte(other / "model.safetensors")

    ran = chandra("doctor", "--weights", str(folder.parent))

    assert ran.status == 1
    assert f"ok    {folder}" in ran.out
    assert f"wrong weights: model.safetensors in {other} is damaged" in ran.out


@pytest.mark.parametrize(
    ("content", "words"),
    [(None, "is missing, but"), (b"short", "has 5 bytes, but .* says 3,000,000")],
)
def test_a_missing_or_short_file_is_found(chandra, folder, content, words):
    (folder / "model.safetensors").unlink()
    if content is not None:
        (folder / "model.safetensors").write_bytes(content)

    ran = chandra("doctor", "--weights", str(folder))

    assert ran.status == 1
    assert re.search(rf"model\.safetensors in .* {words}", ran.out)


def test_a_folder_without_a_manifest_cannot_be_checked(chandra, folder):
    (folder / MANIFEST).unlink()

    ran = chandra("doctor", "--weights", str(folder))

    assert ran.status == 4
    assert f"{folder} holds no {MANIFEST}" in ran.err


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"files": [7]}'])
def test_invalid_manifest_is_reported_by_doctor(chandra, folder, content):
    (folder / MANIFEST).write_text(content)

    ran = chandra("doctor", "--weights", str(folder))

    assert ran.status == 1
    assert f"the {MANIFEST} in {folder} cannot be read" in ran.out


@pytest.mark.parametrize("place", [(), ("s3://weights/given/",)])
def test_staged_weights_are_read_and_hashed(chandra, wire, tmp_path, folder, place):
    create_prerequisites(chandra, wire, tmp_path)
    Store(wire, "weights").stage(
        read_weights(folder, "acme/ocr", "r1"), "given/", "ocr", lambda *_: None
    )

    ran = chandra("doctor", "--weights", *place)

    assert ran.status == 0, ran.out
    assert re.match(r"ok    s3://weights/\S+/\n", ran.out)


def test_a_staged_file_that_was_replaced_is_found(chandra, wire, folder):
    wire.call("s3", "create_bucket", Bucket="weights")
    store = Store(wire, "weights")
    store.stage(
        read_weights(folder, "acme/ocr", "r1"), "given/", "ocr", lambda *_: None
    )
    store.put("given/model.safetensors", bytes(2_999_999) + b"\xff")

    ran = chandra("doctor", "--weights", "s3://weights/given")

    assert ran.status == 1
    assert "model.safetensors in s3://weights/given is damaged" in ran.out
    assert "chandra-sagemaker model stage" in ran.out


def test_a_large_object_is_read_in_parts(wire):
    wire.call("s3", "create_bucket", Bucket="weights")
    store = Store(wire, "weights", part_bytes=1000)
    store.put("large", bytes(range(250)) * 10)

    parts = list(store.read_content("large", 2500))

    assert [len(part) for part in parts] == [1000, 1000, 500]
    assert b"".join(parts) == bytes(range(250)) * 10


def test_a_prefix_without_a_manifest_cannot_be_checked(chandra, wire):
    wire.call("s3", "create_bucket", Bucket="weights")

    ran = chandra("doctor", "--weights", "s3://weights/nothing")

    assert ran.status == 1
    assert "holds no weights that `model stage` finished" in ran.out


def test_init_writes_a_file_once(chandra, tmp_path):
    path = tmp_path / "chandra.toml"
    path.unlink()

    first = chandra("init")
    second = chandra("init")

    assert first.status == 0
    assert path.read_text() == EXAMPLE
    assert second.status == 5
    assert chandra("init", "--force").status == 0


def settings(config: DeployConfig) -> dict[str, object]:
    return {name: getattr(config, name) for name in DeployConfig.__dataclass_fields__}


def test_example_sets_only_required_settings():
    example = settings(config_from(tomllib.loads(EXAMPLE)))
    plain = settings(config_from({"model": {"bucket": "my-bucket"}}))

    assert example | {"tags": {}} == plain


# These settings have no default, so the example shows a possible value.
WITHOUT_DEFAULT = (
    *("role", "revision", "uri", "tag", "cuda", "kms_key", "volume_gb", "region"),
    *("sources", "concurrency", "idle_seconds", "success_topic", "error_topic"),
    r'bucket = "my-bucket" +# exchange bucket',
)


def test_the_example_shows_every_setting_with_its_default():
    """A commented-out setting shows its default."""
    shown = re.sub(r"^# (?=[a-z_]+ = )", "", EXAMPLE, flags=re.MULTILINE)
    for line in WITHOUT_DEFAULT:
        shown = re.sub(rf"^{line}\b.*\n", "", shown, flags=re.MULTILINE)
    shown = re.sub(r"^(team|CHANDRA_MAX_PAGES) = .*\n", "", shown, flags=re.MULTILINE)
    plain = settings(config_from({"model": {"bucket": "my-bucket"}}))
    named = set(re.findall(r"^(?:# )?([a-z_]+) = ", EXAMPLE, re.MULTILINE))

    assert settings(config_from(tomllib.loads(shown))) == plain
    for value in settings(DeployConfig()).values():
        fields = getattr(value, "__dataclass_fields__", {})
        assert set(fields) - {"environment"} <= named

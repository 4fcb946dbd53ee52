"""What is wrong, and how to mend it; and a file to begin with."""

from __future__ import annotations

import re
import tomllib

from deploy.commands.init import EXAMPLE
from deploy.config import DeployConfig, config_from
from tests.deploy.images import write_archive


def prepare(chandra, wire, tmp_path):
    """Everything that doctor looks for."""
    wire.call("s3", "create_bucket", Bucket="weights")
    archive = str(write_archive(tmp_path / "image.tar"))
    path = tmp_path / "chandra.toml"
    for setting in ("uri", "revision"):
        path.write_text(path.read_text().replace(f"{setting} =", f"# {setting} ="))
    assert chandra("iam", "--create").status == 0
    assert chandra("image", "push", "--archive", archive, "--tag", "v1").status == 0
    assert chandra("model", "stage").status == 0


def test_where_all_is_well_each_thing_is_said_to_be(chandra, wire, tmp_path):
    prepare(chandra, wire, tmp_path)

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


def test_what_was_pushed_and_staged_is_what_is_deployed(chandra, wire, tmp_path, cloud):
    prepare(chandra, wire, tmp_path)

    ran = chandra("deploy")

    assert ran.status == 0, ran.err
    assert cloud.machines["ocr"].status == "InService"


def test_each_thing_that_is_wrong_ends_in_how_to_mend_it(chandra, cloud):
    cloud.limits = {"ml.g6e.2xlarge": 0}

    ran = chandra("doctor")

    assert ran.status == 1
    for name in ("quotas", "role", "weights"):
        assert f"wrong {name}: " in ran.out
    assert "request-service-quota-increase" in ran.out
    assert "chandra-sagemaker iam --create" in ran.out


def test_a_bucket_in_another_region_is_found_out(chandra, wire):
    wire.call(
        "s3",
        "create_bucket",
        Bucket="weights",
        CreateBucketConfiguration={"LocationConstraint": "eu-west-1"},
    )

    ran = chandra("doctor")

    assert "bucket weights is in eu-west-1" in ran.out


def test_a_bucket_is_looked_at_before_anything_was_staged(chandra, wire, tmp_path):
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


def test_without_a_file_there_is_nothing_to_look_at(chandra, tmp_path):
    (tmp_path / "chandra.toml").unlink()

    ran = chandra("doctor")

    assert ran.status == 2
    assert ran.err.splitlines()[-1] == "try:   chandra-sagemaker init"


def test_a_policy_that_is_out_of_date_is_found_out(chandra, wire, tmp_path, project):
    chandra("iam", "--create")
    project('[network]\nkms_key = "alias/ocr"\n')

    ran = chandra("doctor")

    assert "is not the one for this chandra.toml" in ran.out


def test_a_role_that_sagemaker_may_not_take_is_found_out(chandra, wire, tmp_path):
    path = tmp_path / "chandra.toml"
    role = 'role = "arn:aws:iam::123456789012:role/mine"\n'
    path.write_text(role + path.read_text())
    wire.call("iam", "create_role", RoleName="mine", AssumeRolePolicyDocument="{}")

    ran = chandra("doctor")

    assert "role mine may not be taken by sagemaker.amazonaws.com" in ran.out


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


def test_the_example_changes_nothing_but_what_has_to_be_set():
    found = settings(config_from(tomllib.loads(EXAMPLE)))
    plain = settings(config_from({"model": {"bucket": "my-bucket"}}))

    assert found | {"tags": {}} == plain


# Their default is none: the example shows what one may look like.
UNSET = (
    *("role", "revision", "uri", "tag", "kms_key", "volume_gb", "region"),
    *("sources", "concurrency", "idle_seconds", "success_topic", "error_topic"),
    r'bucket = "my-bucket" +# documents wait',
)


def test_the_example_shows_every_setting_with_its_default():
    """What is commented out with a value is what there would be without it."""
    shown = re.sub(r"^# (?=[a-z_]+ = )", "", EXAMPLE, flags=re.MULTILINE)
    for line in UNSET:
        shown = re.sub(rf"^{line}\b.*\n", "", shown, flags=re.MULTILINE)
    shown = re.sub(r"^(team|CHANDRA_MAX_PAGES) = .*\n", "", shown, flags=re.MULTILINE)
    plain = settings(config_from({"model": {"bucket": "my-bucket"}}))
    named = set(re.findall(r"^(?:# )?([a-z_]+) = ", EXAMPLE, re.MULTILINE))

    assert settings(config_from(tomllib.loads(shown))) == plain
    for value in settings(DeployConfig()).values():
        fields = getattr(value, "__dataclass_fields__", {})
        assert set(fields) - {"environment"} <= named

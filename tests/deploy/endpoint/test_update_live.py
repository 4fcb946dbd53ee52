"""`update` keeps the settings of the running endpoint that its flags do not name."""

from __future__ import annotations

import random

import pytest

from tests.deploy.accounts import IDENTITY, OTHER_IMAGE

# Each test makes about a hundred calls over HTTP.
pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("staged")]


@pytest.fixture(autouse=True)
def _short_waits(cloud):
    """Make each change take 15 seconds, so that tags have different times."""
    cloud.num_descriptions = 1


IGNORED_KEYS = (
    "EndpointConfigArn",
    "EndpointConfigName",
    "CreationTime",
    "ModelArn",
    "ModelName",
    "ResponseMetadata",
)


def describe_serving(wire, cloud, name="ocr"):
    """Return config and model of the endpoint as AWS describes them, in one dict.

    Names, ARNs and times are left out.
    """
    config = wire.call(
        "sagemaker",
        "describe_endpoint_config",
        EndpointConfigName=cloud.machines[name].config,
    )
    (variant,) = config["ProductionVariants"]
    model = wire.call("sagemaker", "describe_model", ModelName=variant.pop("ModelName"))
    for answer in (config, model):
        for key in IGNORED_KEYS:
            answer.pop(key, None)
    return config | model


def variables_of(description):
    return description["PrimaryContainer"]["Environment"]


def test_a_second_update_keeps_what_the_first_one_changed(chandra, wire, cloud):
    chandra("deploy")
    chandra("update", "--instance-type", "ml.g5.2xlarge", "--env", "A=1")

    ran = chandra("update", "--env", "B=2")

    description = describe_serving(wire, cloud)
    assert ran.status == 0, ran.err
    assert description["ProductionVariants"][0]["InstanceType"] == "ml.g5.2xlarge"
    assert (variables_of(description)["A"], variables_of(description)["B"]) == (
        "1",
        "2",
    )


def test_after_a_rollback_an_update_keeps_the_old_image(
    chandra, wire, cloud, project, at
):
    chandra("deploy")
    good = describe_serving(wire, cloud)["PrimaryContainer"]["Image"]
    project(image=OTHER_IMAGE)
    at.now += 60
    chandra("deploy")
    at.now += 60
    chandra("rollback")

    ran = chandra("update", "--env", "A=1")

    assert ran.status == 0, ran.err
    assert good != OTHER_IMAGE
    assert describe_serving(wire, cloud)["PrimaryContainer"]["Image"] == good


def test_one_variable_is_removed_and_the_others_stay(chandra, wire, cloud):
    chandra("deploy")
    chandra("update", "--env", "A=1", "--env", "B=2")
    before = describe_serving(wire, cloud)

    ran = chandra("update", "--unset-env", "A")

    after = describe_serving(wire, cloud)
    assert ran.status == 0, ran.err
    assert variables_of(before).pop("A") == "1"
    assert after == before


def test_credentials_set_elsewhere_are_hidden(chandra, wire, cloud):
    chandra("deploy")
    description = describe_serving(wire, cloud)
    container = description["PrimaryContainer"]
    container["Environment"]["HF_TOKEN"] = "not-to-be-shown"
    wire.call(
        "sagemaker",
        "create_model",
        ModelName="ocr-by-hand",
        PrimaryContainer=container,
        ExecutionRoleArn=description["ExecutionRoleArn"],
        EnableNetworkIsolation=True,
    )
    (variant,) = description["ProductionVariants"]
    wire.call(
        "sagemaker",
        "create_endpoint_config",
        EndpointConfigName="ocr-by-hand",
        ProductionVariants=[variant | {"ModelName": "ocr-by-hand"}],
    )
    cloud.machines["ocr"].config = "ocr-by-hand"

    ran = chandra("--json", "update", "--env", "B=2")

    assert ran.status == 0, ran.err
    assert variables_of(describe_serving(wire, cloud))["HF_TOKEN"] == "not-to-be-shown"
    assert '"HF_TOKEN": "(hidden)"' in ran.out
    assert "not-to-be-shown" not in ran.out + ran.err


def test_a_variable_may_be_empty(chandra, wire, cloud):
    chandra("deploy")

    chandra("update", "--env", "A=")

    assert variables_of(describe_serving(wire, cloud))["A"] == ""


def test_removing_an_unset_variable_changes_nothing(chandra, cloud):
    chandra("deploy")
    cloud.calls.clear()

    ran = chandra("update", "--unset-env", "TYPO")

    assert ran.status == 0, ran.err
    assert "the container has no variable TYPO" in ran.out
    assert cloud.changes == []


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--unset-env", "MODEL_ID"), "every container has MODEL_ID"),
        (("--env", "A=1", "--unset-env", "A"), "--env sets A and --unset-env removes"),
        (("--startup-timeout", "5"), "must be 60 to 3600, not 5"),
        (("--env", "HF_TOKEN=x"), "must not hold HF_TOKEN"),
    ],
    ids=["fixed", "both", "range", "secret"],
)
def test_invalid_flag_is_refused_before_any_change(chandra, cloud, flags, message):
    chandra("deploy")
    cloud.calls.clear()

    ran = chandra("update", *flags)

    assert ran.status == 2
    assert message in ran.err
    assert cloud.changes == []


def test_without_flags_an_update_changes_nothing(chandra, cloud, project):
    chandra("deploy")
    project(image=OTHER_IMAGE)
    cloud.calls.clear()

    ran = chandra("update")

    assert ran.status == 0, ran.err
    assert "update changes what its flags name; deploy applies chandra.toml" in ran.out
    assert cloud.changes == []


def serve_config_of_console(wire, cloud):
    """Give the endpoint a config with settings that chandra.toml cannot hold."""
    config = wire.call(
        "sagemaker",
        "describe_endpoint_config",
        EndpointConfigName=cloud.machines["ocr"].config,
    )
    (variant,) = config["ProductionVariants"]
    wire.call(
        "sagemaker",
        "create_endpoint_config",
        EndpointConfigName="console",
        ProductionVariants=[
            variant
            | {
                "InitialInstanceCount": 3,
                "EnableSSMAccess": True,
                "RoutingConfig": {"RoutingStrategy": "RANDOM"},
            }
        ],
        KmsKeyId="12345678-1234-1234-1234-123456789012",
        DataCaptureConfig={
            "EnableCapture": True,
            "InitialSamplingPercentage": 7,
            "DestinationS3Uri": "s3://copies/ocr",
            "CaptureOptions": [{"CaptureMode": "Input"}],
        },
        Tags=[{"Key": "team", "Value": "scans"}],
    )
    cloud.machines["ocr"].config = "console"


def test_settings_of_other_programs_stay(chandra, wire, cloud):
    chandra("deploy")
    serve_config_of_console(wire, cloud)
    before = describe_serving(wire, cloud)

    ran = chandra("update", "--instance-type", "ml.g5.2xlarge")

    after = describe_serving(wire, cloud)
    before["ProductionVariants"][0]["InstanceType"] = "ml.g5.2xlarge"
    arn = IDENTITY.sagemaker_arn("endpoint-config", cloud.machines["ocr"].config)
    tags = wire.call("sagemaker", "list_tags", ResourceArn=arn)["Tags"]
    assert ran.status == 0, ran.err
    assert after == before
    assert {"Key": "team", "Value": "scans"} in tags


def test_update_checks_the_running_weights(chandra, wire, cloud, project):
    chandra("deploy")
    path = project()
    path.write_text(path.read_text().replace("0123abc", "fedcba9"))

    ran = chandra("update", "--instance-type", "ml.g5.2xlarge")

    assert ran.status == 0, ran.err
    container = describe_serving(wire, cloud)["PrimaryContainer"]
    assert container["Environment"]["MODEL_REVISION"] == "0123abc"


def test_update_of_a_deleted_config_is_an_error(chandra, wire, cloud):
    chandra("deploy")
    wire.call(
        "sagemaker",
        "delete_endpoint_config",
        EndpointConfigName=cloud.machines["ocr"].config,
    )

    ran = chandra("update", "--env", "A=1")

    assert ran.status == 4
    assert "or its model was deleted" in ran.err
    assert "chandra-sagemaker deploy makes the endpoint" in ran.err


def test_a_stopped_endpoint_is_started_before_it_is_updated(chandra):
    chandra("deploy")
    chandra("stop")

    ran = chandra("update", "--env", "A=1")

    assert ran.status == 4
    assert "try:   chandra-sagemaker start" in ran.err


def test_update_lists_what_the_next_deploy_reverts(chandra, project):
    chandra("deploy")

    first = chandra("update", "--env", "A=1")
    project('[endpoint]\nenvironment = { A = "1" }\n')
    again = chandra("update", "--env", "A=1")
    deployed = chandra("deploy")

    assert "chandra.toml has other settings" in first.out
    assert "  environment.A: 1 -> none" in first.out
    assert "no changes" in again.out
    # There is one config, because the update made what the file describes.
    assert "update endpoint" not in deployed.out


def draw_flags(generator):
    """Draw flags of one update; return them as arguments, and their values by flag."""
    flags, changes = [], {}
    for name, values in (
        ("--instance-type", ("ml.g5.2xlarge", "ml.g6e.4xlarge", "ml.g6e.2xlarge")),
        ("--instance-count", ("1", "2", "3")),
        ("--env", ("A=1", "A=2", "B=1", "C=")),
        ("--download-timeout", ("600", "900")),
    ):
        if generator.random() < 0.4:
            changes[name] = generator.choice(values)
            flags += [name, changes[name]]
    return flags, changes


def apply_flags(description, changes):
    """Change a description as the help of the flags says, and return it."""
    (variant,) = description["ProductionVariants"]
    for flag, value in changes.items():
        if flag == "--instance-type":
            variant["InstanceType"] = value
        elif flag == "--instance-count":
            variant["InitialInstanceCount"] = int(value)
        elif flag == "--download-timeout":
            variant["ModelDataDownloadTimeoutInSeconds"] = int(value)
        else:
            name, _, text = value.partition("=")
            variables_of(description)[name] = text
    return description


@pytest.mark.parametrize("seed", [5, 7])
def test_update_changes_named_settings_only(chandra, wire, cloud, project, at, seed):
    generator = random.Random(seed)
    chandra("deploy")

    for _ in range(7):
        at.now += 60
        command = generator.choice(("update", "update", "deploy", "rollback"))
        if command == "deploy":
            seconds = generator.randint(600, 3600)
            project(f"[endpoint]\nstartup_timeout_seconds = {seconds}\n")
        flags, changes = draw_flags(generator) if command == "update" else ([], {})
        expected = apply_flags(describe_serving(wire, cloud), changes)
        ran = chandra(command, *flags)

        assert ran.status == (4 if "no earlier config" in ran.err else 0), ran.err
        if command == "update":
            assert describe_serving(wire, cloud) == expected

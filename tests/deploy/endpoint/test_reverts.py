"""Lists and questions of `deploy` and `update` before they revert or cost more."""

from __future__ import annotations

import pytest

from deploy.resources import DESCRIBED_TAG
from tests.deploy.accounts import IDENTITY, IMAGE, OTHER_IMAGE

# Each test makes about a hundred calls over HTTP.
pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("staged")]


@pytest.fixture(autouse=True)
def _short_waits(cloud):
    """Make each change take 15 seconds, so that tags have different times."""
    cloud.num_descriptions = 1


REVERTS = "reverts what update, rollback or another program has set:"
IMAGES = "  image: sha256:aaaaaaaaaaaa -> sha256:bbbbbbbbbbbb\n"


def test_a_deploy_lists_what_an_update_has_set(chandra):
    chandra("deploy")
    chandra("update", "--instance-type", "ml.g5.2xlarge", "--env", "A=1")

    ran = chandra("deploy")

    assert ran.status == 0, ran.err
    assert (
        f"{REVERTS}\n  instance_type: ml.g5.2xlarge -> ml.g6e.2xlarge\n"
        "  environment.A: 1 -> none\n" in ran.out
    )
    assert "no changes" in chandra("deploy").out


def test_a_deploy_lists_what_a_rollback_has_set(chandra, project, at):
    chandra("deploy")
    project(image=OTHER_IMAGE)
    at.now += 60
    chandra("deploy")
    at.now += 60
    chandra("rollback")

    ran = chandra("deploy", "--dry-run")

    assert f"{REVERTS}\n{IMAGES}" in ran.out


def test_a_change_of_the_file_reverts_nothing(chandra, project):
    chandra("deploy")
    project(image=OTHER_IMAGE)

    ran = chandra("deploy")

    assert f"changes:\n{IMAGES}" in ran.out
    assert "reverts" not in ran.out


def test_file_changes_are_listed_apart_from_reverts(chandra, project):
    chandra("deploy")
    chandra("update", "--env", "A=1")
    project(image=OTHER_IMAGE)

    ran = chandra("deploy", "--json")

    settings = {
        key: [d["setting"] for d in ran.json[key]] for key in ("changes", "reverts")
    }
    assert settings["reverts"] == ["environment.A"]
    assert set(settings["changes"]) == {"environment.A", "image"}
    assert ran.json["price_an_hour"] == {"before": 2.8, "after": 2.8}


def test_flags_of_a_deploy_are_reverted_by_the_next(chandra):
    chandra("deploy")

    first = chandra("deploy", "--instance-type", "ml.g5.2xlarge")
    second = chandra("deploy")

    line = "  instance_type: ml.g5.2xlarge -> ml.g6e.2xlarge\n"
    assert f"or the next deploy reverts them:\n{line}" in first.out
    assert f"{REVERTS}\n{line}" in second.out


def test_machines_added_by_hand_are_listed(chandra, cloud, project):
    chandra("deploy")
    cloud.counts["ocr"] = 3
    project(image=OTHER_IMAGE)

    ran = chandra("deploy", "--dry-run")

    assert f"{REVERTS}\n  instance_count: 3 -> 1\n" in ran.out
    assert "price an hour: $8.40 -> $2.80" in ran.out


def test_machines_added_by_hand_stay_in_an_update(chandra, cloud):
    chandra("deploy")
    cloud.counts["ocr"] = 3

    chandra("update", "--env", "A=1")

    variant = cloud.variants[cloud.machines["ocr"].config][0]
    assert variant["InitialInstanceCount"] == 3


def test_changes_have_unknown_origin_without_a_record(chandra, wire, cloud, project):
    chandra("deploy")
    arn = IDENTITY.sagemaker_arn("endpoint-config", cloud.machines["ocr"].config)
    wire.call("sagemaker", "delete_tags", ResourceArn=arn, TagKeys=[DESCRIBED_TAG])
    project(image=OTHER_IMAGE)

    ran = chandra("deploy", typed="n\n")

    assert f"changes (it is not known what set them before):\n{IMAGES}" in ran.out
    assert "change back the 1 setting above? [y/N]" in ran.err


def test_foreign_credentials_are_hidden(chandra, wire, cloud):
    chandra("deploy")
    config = wire.call(
        "sagemaker",
        "describe_endpoint_config",
        EndpointConfigName=cloud.machines["ocr"].config,
    )
    (variant,) = config["ProductionVariants"]
    model = wire.call("sagemaker", "describe_model", ModelName=variant["ModelName"])
    container = model["PrimaryContainer"]
    container["Environment"]["DB_PASSWORD"] = "open sesame"
    wire.call(
        "sagemaker",
        "create_model",
        ModelName="theirs",
        PrimaryContainer=container,
        ExecutionRoleArn=model["ExecutionRoleArn"],
        EnableNetworkIsolation=True,
    )
    wire.call(
        "sagemaker",
        "create_endpoint_config",
        EndpointConfigName="theirs",
        ProductionVariants=[variant | {"ModelName": "theirs"}],
    )
    cloud.machines["ocr"].config = "theirs"

    as_text = chandra("deploy", "--dry-run")
    as_json = chandra("deploy", "--dry-run", "--json")

    assert "environment.DB_PASSWORD: (hidden) -> none" in as_text.out
    assert "open sesame" not in as_text.out + as_json.out


# Questions at a terminal


@pytest.mark.parametrize(
    ("answer", "status"),
    [("y\n", 0), ("n\n", 1), ("", 1)],
    ids=["yes", "no", "end"],
)
def test_a_deploy_asks_before_it_costs_money(chandra, cloud, answer, status):
    ran = chandra("deploy", typed=answer)

    assert ran.status == status
    assert "price an hour: $0.00 -> $2.80" in ran.out
    assert "let endpoint ocr cost $2.80 an hour (now $0.00 an hour)? [y/N]" in ran.err
    assert ("ocr" in cloud.machines) == (status == 0)


@pytest.mark.parametrize(
    "flags",
    [("--instance-type", "ml.g6e.12xlarge"), ("--instance-count", "2")],
    ids=["dearer", "more"],
)
def test_an_update_asks_before_it_costs_more(chandra, cloud, flags):
    chandra("deploy")
    before = cloud.machines["ocr"].config

    ran = chandra("update", *flags, typed="n\n")

    assert ran.status == 1
    assert "(now $2.80 an hour)? [y/N]" in ran.err
    assert "nothing was changed" in ran.out
    assert cloud.machines["ocr"].config == before


def test_cheaper_update_asks_no_question(chandra):
    chandra("deploy")

    ran = chandra("update", "--instance-type", "ml.g5.2xlarge", typed="")

    assert ran.status == 0, ran.err
    assert "price an hour: $2.80 -> $1.515; $4.315 while old and new" in ran.out
    assert ran.err == ""


def test_machine_without_a_price_needs_a_yes(chandra):
    chandra("deploy")

    ran = chandra("update", "--instance-type", "ml.g6e.4xlarge", typed="n\n")

    assert ran.status == 1
    assert "whose price is not known here (now $2.80 an hour)? [y/N]" in ran.err


def test_a_deploy_asks_before_it_reverts(chandra, cloud):
    chandra("deploy")
    chandra("update", "--env", "A=1")
    before = cloud.machines["ocr"].config

    ran = chandra("deploy", typed="n\n")

    assert ran.status == 1
    assert ran.err == "change back the 1 setting above? [y/N] "
    assert cloud.machines["ocr"].config == before


@pytest.mark.parametrize(
    ("health", "image", "command"),
    [
        ("Failed", OTHER_IMAGE, ("deploy",)),
        ("OutOfService", IMAGE, ("update", "--instance-type", "ml.g6e.12xlarge")),
        ("Failed", IMAGE, ("update", "--strategy", "recreate", "--env", "A=1")),
    ],
    ids=["deploy", "update", "recreate"],
)
def test_recreating_a_failed_endpoint_needs_a_yes(
    chandra, cloud, project, health, image, command
):
    chandra("deploy")
    cloud.machines["ocr"].status = health
    project(image=image)
    cloud.calls.clear()

    ran = chandra(*command, typed="n\n")

    assert ran.status == 1
    assert ran.err.count("[y/N]") == 1
    assert "an hour (now $0.00 an hour)? [y/N]" in ran.err
    assert cloud.changes == []
    assert chandra(*command, typed="y\n").status == 0


def test_deleting_a_serving_endpoint_asks_once(chandra, cloud):
    chandra("deploy")
    cloud.calls.clear()

    ran = chandra(
        *("update", "--strategy", "recreate", "--instance-count", "2"), typed="n\n"
    )

    assert ran.status == 1
    assert ran.err.count("[y/N]") == 1
    assert "delete endpoint ocr and make it again?" in ran.err
    assert cloud.changes == []


def test_no_question_is_asked_without_a_terminal(chandra, cloud):
    first = chandra("deploy", yes=False)
    update = chandra("update", "--instance-count", "2", yes=False)
    back = chandra("deploy", yes=False)

    assert (first.status, update.status, back.status) == (0, 0, 0)
    assert REVERTS in back.out


def test_dry_run_prints_the_same_and_asks_nothing(chandra, cloud):
    chandra("deploy")
    chandra("update", "--instance-type", "ml.g5.2xlarge")
    cloud.calls.clear()

    dry_run = chandra("deploy", "--dry-run", typed="")
    changes = cloud.changes
    deployed = chandra("deploy", typed="y\n")

    head = deployed.out.partition("update endpoint")[0].removesuffix("create ")
    assert dry_run.status == 0
    assert changes == []
    assert "price an hour: $1.515 -> $2.80" in head
    assert dry_run.out.startswith(head)


# The asynchronous endpoint


EXTRA = '[asynchronous]\nbucket = "exchange"\n'


@pytest.fixture
def queue(chandra, project, wire):
    wire.call("s3", "create_bucket", Bucket="exchange")
    project(EXTRA)
    assert chandra("async", "deploy").status == 0


def test_async_deploy_asks_before_it_may_cost_more(queue, chandra, project):
    project(f"{EXTRA}max_instances = 4\n")

    declined = chandra("async", "deploy", typed="n\n")
    done = chandra("async", "deploy", typed="y\n")

    assert declined.status == 1
    assert "asynchronous.max_instances: 2 -> 4" in declined.out
    assert "price an hour, at most: $5.60 -> $11.20" in declined.out
    assert "cost up to $11.20 an hour (now $5.60 an hour)" in declined.err
    assert done.status == 0, done.err
    assert "no changes" in chandra("async", "deploy").out


def test_a_queue_lists_what_is_reverted(queue, chandra, project):
    as_text = chandra("async", "deploy", "--image", OTHER_IMAGE)

    ran = chandra("async", "deploy", typed="n\n")

    line = "  image: sha256:bbbbbbbbbbbb -> sha256:aaaaaaaaaaaa\n"
    assert f"or the next async deploy reverts them:\n{line}" in as_text.out
    assert f"{REVERTS}\n{line}" in ran.out
    assert ran.status == 1

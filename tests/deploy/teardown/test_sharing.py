"""Roles and objects that stay because other regions use them."""

from __future__ import annotations

import pytest

from deploy.plan.actions import Call
from deploy.policies import UNNAMED_POLICY, policy_name
from deploy.teardown.plan import (
    Inventory,
    ObjectVersion,
    Role,
    UnfinishedUpload,
    plan_teardown,
)
from deploy.teardown.sharing import (
    RegionUse,
    keep_everything,
    keep_objects,
    keep_results,
    keep_roles,
    keep_weights,
)

HERE, OTHER_REGION = "us-east-1", "eu-west-1"
NAME = "ocr-execution"
WEIGHTS = ObjectVersion("models/a/config.json", "null")
DEPLOYED = RegionUse(OTHER_REGION, ("endpoint ocr", "model ocr-1"))
ROLE_USED_BY_OTHERS = RegionUse(OTHER_REGION, roles={NAME: "other-1"})


def role(*regions, **other):
    """Make a role with a policy for each region, and other policies by name."""
    policies = {policy_name(region): frozenset({region}) for region in regions}
    policies |= {name: frozenset({region}) for name, region in other.items()}
    return Role(NAME, (*policies, "theirs"), policies, ("arn:aws:iam::aws:policy/A",))


def iam_calls(roles):
    """Return operation and policy name of each call that deletes parts of roles."""
    actions = plan_teardown(Inventory("ocr", roles=tuple(roles)), everything=True)
    return [
        (action.operation, action.params.get("PolicyName"))
        for action in actions
        if isinstance(action, Call)
    ]


def test_role_that_no_other_region_uses_is_deleted():
    left, kept = keep_roles([role(HERE)], HERE, [RegionUse(OTHER_REGION)])

    assert kept == []
    assert iam_calls(left) == [
        ("delete_role_policy", policy_name(HERE)),
        ("delete_role_policy", "theirs"),
        ("detach_role_policy", None),
        ("delete_role", None),
    ]


@pytest.mark.parametrize(
    "uses", [[DEPLOYED], [ROLE_USED_BY_OTHERS], []], ids=["live", "other", "none"]
)
def test_role_with_a_policy_for_another_region_loses_its_own(uses):
    left, kept = keep_roles([role(HERE, OTHER_REGION)], HERE, uses)

    assert iam_calls(left) == [("delete_role_policy", policy_name(HERE))]
    assert [each.what for each in kept] == [f"role {NAME}"]


@pytest.mark.parametrize(
    "region_use", [DEPLOYED, ROLE_USED_BY_OTHERS], ids=["live", "other"]
)
def test_role_lacking_a_policy_for_a_used_region_keeps_all(region_use):
    left, (kept,) = keep_roles([role(HERE)], HERE, [region_use])

    assert iam_calls(left) == []
    assert (
        "all its policies stay, as it has none for eu-west-1: chandra-sagemaker iam "
        "--create --region eu-west-1 makes one"
    ) in kept.reason


def test_unnamed_policy_is_deleted_if_others_have_named_ones():
    legacy = role(OTHER_REGION, **{UNNAMED_POLICY: HERE})

    left, _ = keep_roles([legacy], HERE, [DEPLOYED])

    assert iam_calls(left) == [("delete_role_policy", UNNAMED_POLICY)]


def test_role_with_another_regions_policy_says_how_to_delete_it():
    _, (kept,) = keep_roles([role(HERE, OTHER_REGION)], HERE, [RegionUse(OTHER_REGION)])

    assert kept.reason == "its policy for eu-west-1 says that it is used there"
    assert kept.remedy == (
        "chandra-sagemaker destroy --all --region eu-west-1 deletes it"
    )


def test_role_with_a_policy_for_a_region_not_asked_stays():
    left, (kept,) = keep_roles([role(HERE, OTHER_REGION)], HERE, [])

    assert iam_calls(left) == [("delete_role_policy", policy_name(HERE))]
    assert kept.remedy == (
        "eu-west-1 was not asked: if nothing there uses the role, delete policy "
        "chandra-sagemaker-eu-west-1 in it, then run the same command again"
    )


@pytest.mark.parametrize("uses", [[DEPLOYED], []], ids=["live", "not-asked"])
def test_remedies_for_kept_resources_omit_destroy(uses):
    inventory = Inventory("ocr", bucket="weights", weights=(WEIGHTS,))

    _, (kept,) = keep_roles([role(HERE, OTHER_REGION)], HERE, uses)
    (objects,) = keep_objects(inventory, OTHER_REGION, uses).kept

    assert "destroy" not in kept.remedy
    assert objects.remedy == "they are deleted with the deployment in eu-west-1"


@pytest.mark.parametrize(
    ("address", "is_kept"),
    [
        ("s3://weights/models/a/", True),
        ("s3://weights/models/a/config.json", True),
        ("s3://weights/models/b/", False),
        ("s3://others/models/a/", False),
    ],
)
def test_weights_stay_while_a_model_elsewhere_loads_them(address, is_kept):
    inventory = Inventory("ocr", bucket="weights", weights=(WEIGHTS,))

    left = keep_weights(
        inventory, [RegionUse(OTHER_REGION, weights={address: "other-1"})]
    )

    assert (left.weights == ()) is is_kept
    assert bool(left.kept) is is_kept


@pytest.mark.parametrize("name", ["ocr-async", "ocr"])
def test_results_stay_while_their_queue_is_elsewhere(name):
    result = ObjectVersion("async/ocr/out/a.json", "null")
    inventory = Inventory("ocr-async", bucket="exchange", exchanged=(result,))
    region_use = RegionUse(OTHER_REGION, (f"endpoint {name}",), frozenset({name}))

    left = keep_results(inventory, [region_use])

    assert (left.exchanged == ()) is (name == "ocr-async")
    assert [each.reason for each in left.kept] == (
        ["eu-west-1 has endpoint ocr-async"] if name == "ocr-async" else []
    )


def test_unfinished_uploads_in_another_region_stay():
    inventory = Inventory("ocr", bucket="b", uploads=(UnfinishedUpload("k", "1"),))

    left = keep_objects(inventory, OTHER_REGION, [])

    assert left.uploads == ()
    assert left.kept[0].what == "objects in s3://b (unfinished uploads)"


def test_empty_bucket_does_not_change_the_inventory():
    inventory = Inventory("ocr", bucket="weights")

    assert keep_objects(inventory, OTHER_REGION, [DEPLOYED]) == inventory
    assert keep_everything(inventory) == inventory

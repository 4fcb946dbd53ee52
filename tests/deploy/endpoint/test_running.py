"""Edits of an existing endpoint change the settings that they name."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings, strategies as st

from deploy.errors import ConflictError
from deploy.resources import Edits, Running, RunningConfig, RunningModel, endpoint_from
from tests.deploy.accounts import IDENTITY, IMAGE, OTHER_IMAGE, configured

TYPES = ("ml.g6e.2xlarge", "ml.g5.2xlarge", "ml.g6e.12xlarge", "ml.p5.4xlarge")


def running_endpoint(**tables) -> Running:
    target = endpoint_from(configured(**tables), IDENTITY)
    return Running(
        target.name,
        RunningConfig(target.config.name, target.config.contents, target.config.tags),
        RunningModel(target.model.name, target.model.contents, target.model.tags),
        target.tags,
    )


VARIABLES = st.dictionaries(st.sampled_from("ABCD"), st.text(max_size=5), max_size=3)
EDITS = st.builds(
    lambda variables, removed, **rest: Edits(
        environment=variables,
        removed_variables=tuple(sorted(removed - variables.keys())),
        **rest,
    ),
    VARIABLES,
    st.sets(st.sampled_from("ABCD"), max_size=2),
    instance_types=st.none()
    | st.lists(st.sampled_from(TYPES), min_size=1, max_size=3, unique=True).map(tuple),
    instance_count=st.none() | st.integers(1, 4),
    image=st.sampled_from((None, IMAGE, OTHER_IMAGE)),
    startup_timeout_seconds=st.none() | st.integers(60, 3600),
    download_timeout_seconds=st.none() | st.integers(60, 3600),
)
DEPLOYED_FILES = st.builds(
    lambda kinds, count, variables, startup: running_endpoint(
        endpoint={
            "instance_types": kinds,
            "instance_count": count,
            "environment": variables,
            "startup_timeout_seconds": startup,
        },
        capture={"uri": "s3://copies/ocr"},
        network={"subnets": ["subnet-1"], "security_groups": ["sg-1"]},
    ),
    st.lists(st.sampled_from(TYPES), min_size=1, max_size=2, unique=True),
    st.integers(1, 3),
    VARIABLES,
    st.integers(60, 3600),
)
STEPS = st.lists(DEPLOYED_FILES | EDITS | st.just("rollback"), max_size=6)


def expected_settings(before: dict[str, str], edits: Edits) -> dict[str, str]:
    """Return the settings after an edit, as the help of the flags describes them."""
    after = dict(before)
    if edits.instance_types is not None:
        after["instance_type"] = ", ".join(edits.instance_types)
        after.pop("provision_timeout_seconds", None)
        if len(edits.instance_types) > 1:
            after["provision_timeout_seconds"] = before.get(
                "provision_timeout_seconds", "1200"
            )
    for name, value in (
        ("instance_count", edits.instance_count),
        ("image", edits.image),
        ("startup_timeout_seconds", edits.startup_timeout_seconds),
        ("download_timeout_seconds", edits.download_timeout_seconds),
    ):
        if value is not None:
            after[name] = str(value)
    startup = edits.startup_timeout_seconds
    if startup is not None:
        after["environment.STARTUP_TIMEOUT_SECONDS"] = str(startup)
        after["environment.CHANDRA_LOAD_SECONDS"] = str(max(startup - 60, startup // 2))
    for name in edits.removed_variables:
        after.pop(f"environment.{name}", None)
    return after | {f"environment.{k}": v for k, v in edits.environment.items()}


@settings(max_examples=150, deadline=None)
@given(DEPLOYED_FILES, STEPS)
def test_each_edit_changes_the_settings_that_it_names(first, steps):
    history = [first]

    for step in steps:
        if step == "rollback":
            history.append(history[max(len(history) - 2, 0)])
        elif isinstance(step, Running):
            history.append(step)
        else:
            before = history[-1]
            after = before.edited(step)
            assert after.settings == expected_settings(before.settings, step)
            assert (after.config.name == before.config.name) == (
                after.settings == before.settings
            )
            assert after.model.tags == before.model.tags
            assert after.config.tags == before.config.tags
            history.append(after)


def test_an_edit_makes_the_config_that_the_file_would_make():
    edited = running_endpoint().edited(
        Edits(instance_types=("ml.g5.2xlarge",), image=OTHER_IMAGE)
    )

    described = running_endpoint(
        endpoint={"instance_types": ["ml.g5.2xlarge"]}, image={"uri": OTHER_IMAGE}
    )
    assert edited == described


def test_load_limit_of_the_file_stays():
    endpoint = running_endpoint(
        endpoint={"environment": {"CHANDRA_LOAD_SECONDS": "77"}}
    )

    edited = endpoint.edited(Edits(startup_timeout_seconds=900))

    assert edited.model.environment["CHANDRA_LOAD_SECONDS"] == "77"
    assert edited.model.environment["STARTUP_TIMEOUT_SECONDS"] == "900"


def test_new_config_keeps_added_machines():
    endpoint = replace(running_endpoint(), instance_count=3)

    assert endpoint.edited(Edits(image=OTHER_IMAGE)).variant.instance_count == 3
    assert endpoint.edited(Edits(instance_count=2)).variant.instance_count == 2
    assert endpoint.edited(Edits()) == endpoint


def test_edit_changes_the_main_variant_only():
    endpoint = running_endpoint()
    (main,) = endpoint.config.contents["ProductionVariants"]
    canary = main | {"VariantName": "canary", "ModelName": "theirs"}
    contents = {**endpoint.config.contents, "ProductionVariants": [canary, main]}
    with_canary = replace(endpoint, config=replace(endpoint.config, contents=contents))

    edited = with_canary.edited(Edits(instance_count=2, environment={"A": "1"}))

    first, second = edited.config.contents["ProductionVariants"]
    assert first == canary
    assert (second["InitialInstanceCount"], second["ModelName"]) == (
        2,
        edited.model.name,
    )


def test_pipeline_of_containers_is_rejected():
    endpoint = running_endpoint()
    contents = dict(endpoint.model.contents)
    contents["Containers"] = [contents.pop("PrimaryContainer")]
    pipeline = replace(endpoint, model=replace(endpoint.model, contents=contents))

    assert pipeline.edited(Edits(instance_count=2)).variant.instance_count == 2
    with pytest.raises(ConflictError, match="several containers"):
        pipeline.edited(Edits(image=OTHER_IMAGE))

"""Reader of a running endpoint, with config and model as requests to create them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from deploy.aws.client import AWSClient
from deploy.endpoint.account import Account
from deploy.errors import ConflictError, NotFoundError
from deploy.resources import (
    DESCRIBED_TAG,
    LIVE_TAG,
    EndpointState,
    Running,
    RunningConfig,
    RunningModel,
    main_variant_index,
)

__all__ = ["read_running_endpoint"]

TIME_TAGS = (LIVE_TAG, DESCRIBED_TAG)


def read_running_endpoint(
    aws: AWSClient,
    name: str,
    config: str,
    state: EndpointState | None,
    *,
    with_tags: bool = True,
) -> Running:
    """Return endpoint `name`, its config and its model as requests to create them.

    The number of instances is that of `state`. Without a state, or if the endpoint has
    another config, is changing or is scaled, it is the config's. `with_tags` False
    leaves out all tags, which saves requests. Raises NotFoundError if config or model
    were deleted, and ConflictError if the config hosts inference components.
    """
    account = Account(aws)
    try:
        described = account.describe_config(config)
        contents = _request_params(aws, "create_endpoint_config", described)
        contents.pop("EndpointConfigName")
        variant = contents["ProductionVariants"][main_variant_index(contents)]
        if "ModelName" not in variant:
            raise ConflictError(
                f"endpoint {name} hosts inference components, which this program does "
                "not manage",
                hint="set another name in chandra.toml",
            )
        description = account.describe_model(variant["ModelName"])
    except NotFoundError as error:
        raise NotFoundError(
            f"config {config} of endpoint {name} or its model was deleted: "
            f"{error.message}",
            hint="chandra-sagemaker deploy makes the endpoint as chandra.toml "
            "describes it",
        ) from error
    model = _request_params(aws, "create_model", description)
    model_name = model.pop("ModelName")
    return Running(
        name=name,
        config=RunningConfig(
            config,
            contents,
            _copied_tags(account, described["EndpointConfigArn"]) if with_tags else {},
        ),
        model=RunningModel(
            model_name,
            model,
            _copied_tags(account, description["ModelArn"]) if with_tags else {},
        ),
        tags=_copied_tags(account, aws.identity().sagemaker_arn("endpoint", name))
        if with_tags and state is not None
        else {},
        instance_count=_drifted_count(variant, config, state),
    )


def _drifted_count(
    variant: Mapping[str, Any], config: str, state: EndpointState | None
) -> int | None:
    """Return the current number of instances if it differs from the config's.

    Returns None if it does not, or if it is not comparable: without a state, or while
    the endpoint is scaled, is changing, or has another config or variant.
    """
    if state is None or state.is_scaled or state.is_changing or state.config != config:
        return None
    if variant.get("VariantName") != state.variant or state.desired_count is None:
        return None
    same = state.desired_count == variant.get("InitialInstanceCount")
    return None if same else state.desired_count


def _request_params(
    aws: AWSClient, operation: str, description: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the part of a description that can be sent as a request."""
    contents: dict[str, Any] = aws.request_part("sagemaker", operation, description)
    contents.pop("Tags", None)
    if operation == "create_endpoint_config":
        # AWS adds this member to every description.
        if contents.get("EnableNetworkIsolation") is False:
            del contents["EnableNetworkIsolation"]
        for variant in contents["ProductionVariants"]:
            if "InitialVariantWeight" in variant:
                variant["InitialVariantWeight"] = float(variant["InitialVariantWeight"])
    return contents


def _copied_tags(account: Account, arn: str) -> dict[str, str]:
    """Return the tags of a resource that a copy gets too.

    The tags with times and the tags of AWS are left out.
    """
    return {
        key: value
        for key, value in account.tags(arn).items()
        if key not in TIME_TAGS and not key.startswith("aws:")
    }

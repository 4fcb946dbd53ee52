"""Everything that carries the tag of one deployment, wherever it is."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from deploy.asynchronous.endpoint import async_config, exchange_of
from deploy.aws.account import Account
from deploy.aws.builds import build_log, sources_prefix
from deploy.aws.client import AWSClient
from deploy.aws.monitoring import alarms_of, has_dashboard
from deploy.aws.repository import repository_tags
from deploy.aws.roles import find_role
from deploy.aws.schedules import has_schedule_group
from deploy.aws.transforms import Transforms
from deploy.aws.versions import Staged, staged_by, uploads_below, versions_below
from deploy.config import DeployConfig
from deploy.errors import (
    AccessDeniedError,
    ConfigError,
    ConflictError,
    NotFoundError,
)
from deploy.resources import OWNER_TAG, log_group, tags_from
from deploy.teardown import Inventory, ObjectVersion, Role
from deploy.transform.job import LOG_GROUP, transforms_prefix

__all__ = ["inventories_of", "inventory_of"]


def inventories_of(
    aws: AWSClient, config: DeployConfig, *, everything: bool
) -> list[Inventory]:
    """Of the asynchronous endpoint, where there can be one, and of the deployment."""
    try:
        beside = async_config(config, aws.identity())
    except ConfigError:
        return [inventory_of(aws, config, everything=everything)]
    try:
        first = inventory_of(aws, beside, everything=everything)
    except AccessDeniedError:
        # The least policy lets us look for one only where there is to be one.
        if config.asynchronous.bucket is not None:
            raise
        return [inventory_of(aws, config, everything=everything)]
    if everything and config.asynchronous.bucket is not None:
        exchange = exchange_of(config)
        first = replace(
            first,
            bucket=exchange.bucket,
            exchanged=versions_below(aws, exchange.bucket, exchange.prefix),
            uploads=uploads_below(aws, exchange.bucket, exchange.prefix),
        )
    rest = inventory_of(aws, config, everything=everything, also_ours=first.models)
    return [first, rest]


def inventory_of(
    aws: AWSClient,
    config: DeployConfig,
    *,
    everything: bool,
    also_ours: Sequence[str] = (),
) -> Inventory:
    """With `everything`, also what `destroy --all` removes.

    Models in `also_ours` go as well, so they keep no image and no weights.
    """
    account, name = Account(aws), config.name
    state = account.endpoint(name)
    is_ours = state is not None and state.is_ours
    roles = [
        _role(aws, role, name)
        for role in (
            config.role_name,
            f"{name}-scheduler",
            f"{name}-build",
        )
    ]
    staged = staged_by(aws, config) if everything else Staged()
    bucket = config.model.bucket
    configs = tuple(live.config for live in account.history(name))
    models = tuple(account.models(name))
    _refuse_if_used(aws, account, name, {*configs, *models})
    repository = _repository(aws, config) if everything else None
    ours = (*models, *also_ours)
    _refuse_if_shared(aws, account, config, ours, repository, staged.versions)
    return Inventory(
        name=name,
        endpoint=state if is_ours else None,
        configs=configs,
        models=models,
        alarms=tuple(alarm.name for alarm in alarms_of(aws, name)),
        has_dashboard=has_dashboard(aws, name),
        has_schedule=has_schedule_group(aws, name),
        is_scaled=is_ours and state is not None and state.is_scaled,
        roles=tuple(role for role in roles if role is not None) if everything else (),
        repository=repository,
        build_project=_build_project(aws, name) if everything else None,
        bucket=bucket,
        weights=staged.versions,
        sources=versions_below(aws, bucket, sources_prefix(name)) if everything else (),
        uploads=(
            *staged.uploads,
            *(
                upload
                for prefix in (sources_prefix(name), transforms_prefix(name))
                if everything
                for upload in uploads_below(aws, bucket, prefix)
            ),
        ),
        log_groups=tuple(
            group
            for group in (log_group(name), build_log(name))
            if everything and _has_logs(aws, group)
        ),
        jobs=tuple(job.name for job in Transforms(aws, name).ours(status="InProgress")),
        job_objects=(
            versions_below(aws, bucket, transforms_prefix(name)) if everything else ()
        ),
        job_streams=_job_streams(aws, name) if everything else (),
    )


def _role(aws: AWSClient, role: str, deployment: str) -> Role | None:
    """A role of the deployment's own; None where it is missing or somebody else's."""
    tags = tags_from((find_role(aws, role) or {}).get("Tags", ()))
    if tags.get(OWNER_TAG) != deployment:
        return None
    try:
        policies = aws.call("iam", "list_role_policies", RoleName=role)["PolicyNames"]
    except NotFoundError:
        return None
    return Role(role, tuple(policies))


def _refuse_if_used(
    aws: AWSClient, account: Account, deployment: str, ours: set[str]
) -> None:
    """Without its config or model an endpoint cannot be repaired, nor well deleted."""
    for summary in aws.pages("sagemaker", "list_endpoints", "Endpoints"):
        try:
            state = account.endpoint(summary["EndpointName"]) if ours else None
            if state is None or (state.is_ours and state.name == deployment):
                continue
            config = account.describe_config(state.config)
        except (AccessDeniedError, NotFoundError):
            # Whoever may not look at it cannot have made it use what is ours.
            continue
        models = {v.get("ModelName") for v in config["ProductionVariants"]}
        used = ours & {state.config, *models}
        if used:
            raise ConflictError(
                f"endpoint {state.name}, which is not of deployment {deployment}, uses "
                f"{', '.join(sorted(used))}",
                hint=f"keep {deployment} until endpoint {state.name} has other configs",
            )


def _refuse_if_shared(
    aws: AWSClient,
    account: Account,
    config: DeployConfig,
    ours: Sequence[str],
    repository: str | None,
    weights: Sequence[ObjectVersion],
) -> None:
    """Whatever starts from our image or weights could not start again without them."""
    uris = {f"s3://{config.model.bucket}/{each.key}" for each in weights}
    if repository is None and not uris:
        return
    for summary in aws.pages("sagemaker", "list_models", "Models"):
        name = summary["ModelName"]
        if name in ours:
            continue
        try:
            container = account.describe_model(name).get("PrimaryContainer", {})
        except (AccessDeniedError, NotFoundError):
            continue
        image = str(container.get("Image", "")).partition("@")[0].partition(":")[0]
        source = container.get("ModelDataSource", {}).get("S3DataSource", {})
        pulled = container.get("Environment", {}).get("MODEL_S3_URI")
        data = container.get("ModelDataUrl") or source.get("S3Uri") or pulled
        used = []
        if repository and image == f"{aws.identity().registry}/{repository}":
            used.append(f"images of {repository}")
        if data and any(uri.startswith(data) for uri in uris):
            used.append(f"weights at {data}")
        if used:
            raise ConflictError(
                f"model {name}, which is not of deployment {config.name}, uses "
                f"{' and '.join(used)}",
                hint="chandra-sagemaker destroy without --all keeps both",
            )


def _repository(aws: AWSClient, config: DeployConfig) -> str | None:
    name = config.image.repository
    tags = repository_tags(aws, name)
    is_ours = tags is not None and tags.get(OWNER_TAG) == config.name
    return name if is_ours else None


def _build_project(aws: AWSClient, deployment: str) -> str | None:
    name = f"{deployment}-image"
    found = aws.call("codebuild", "batch_get_projects", names=[name])["projects"]
    tags = {tag["key"]: tag["value"] for project in found for tag in project["tags"]}
    return name if tags.get(OWNER_TAG) == deployment else None


def _job_streams(aws: AWSClient, deployment: str) -> tuple[str, ...]:
    """By our jobs' names, exactly: another deployment's may begin with ours."""
    ours = re.compile(rf"{re.escape(deployment)}-[0-9a-f]{{8}}/")
    try:
        return tuple(
            str(stream["logStreamName"])
            for stream in aws.pages(
                "logs",
                "describe_log_streams",
                "logStreams",
                logGroupName=LOG_GROUP,
                logStreamNamePrefix=f"{deployment}-",
            )
            if ours.match(stream["logStreamName"])
        )
    except NotFoundError:
        return ()


def _has_logs(aws: AWSClient, group: str) -> bool:
    found = aws.pages(
        "logs", "describe_log_groups", "logGroups", logGroupNamePrefix=group
    )
    return any(item["logGroupName"] == group for item in found)

"""Everything that carries the tag of one deployment, wherever it is."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from deploy.aws.client import AWSClient
from deploy.batch.job import LOG_GROUP, transforms_prefix
from deploy.batch.jobs import Transforms
from deploy.config import DeployConfig
from deploy.endpoint.account import Account
from deploy.endpoint.schedules import has_schedule_group
from deploy.errors import (
    AccessDeniedError,
    ConfigError,
    ConflictError,
    NotFoundError,
)
from deploy.image.codebuild import build_log, sources_prefix
from deploy.image.repository import repository_tags
from deploy.monitoring.account import alarms_of, dashboard_region, has_dashboard
from deploy.policies import policy_regions
from deploy.policies.roles import attached_policies, find_role, role_policies
from deploy.queue.endpoint import async_config, exchange_of
from deploy.resources import OWNER_TAG, log_group, tags_from
from deploy.teardown.models import ingredients_of
from deploy.teardown.plan import Inventory, Kept, ObjectVersion, Role
from deploy.teardown.versions import Staged, staged_by, uploads_below, versions_below

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
    # `iam` makes no roles for it, so those of its name are another deployment's.
    first = replace(first, roles=())
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
    roles = _roles(aws, name) if everything else ()
    staged = staged_by(aws, config) if everything else Staged()
    bucket = config.model.bucket
    configs = tuple(live.config for live in account.history(name))
    models = tuple(account.models(name))
    _refuse_if_used(aws, account, name, {*configs, *models})
    repository = _repository(aws, config) if everything else None
    ours = (*models, *also_ours)
    _refuse_if_shared(aws, account, config, ours, repository, staged.versions, roles)
    is_shown = has_dashboard(aws, name)
    shown = dashboard_region(aws, name) if is_shown else None
    is_elsewhere = shown not in (None, aws.region)
    return Inventory(
        name=name,
        endpoint=state if is_ours else None,
        configs=configs,
        models=models,
        alarms=tuple(alarm.name for alarm in alarms_of(aws, name)),
        has_dashboard=is_shown and not is_elsewhere,
        has_schedule=has_schedule_group(aws, name),
        is_scaled=is_ours and state is not None and state.is_scaled,
        roles=roles,
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
        jobs=tuple(
            job.name for job in Transforms(aws, name).own_jobs(status="InProgress")
        ),
        job_objects=(
            versions_below(aws, bucket, transforms_prefix(name)) if everything else ()
        ),
        job_streams=_job_streams(aws, name) if everything else (),
        kept=(
            Kept(
                f"dashboard {name}",
                f"it shows {shown}, and dashboards are global",
                f"it goes with the deployment in {shown}",
            ),
        )
        if is_elsewhere
        else (),
    )


def _roles(aws: AWSClient, deployment: str) -> tuple[Role, ...]:
    """Return the roles that `iam --create` made for a deployment."""
    names = (f"{deployment}-{kind}" for kind in ("execution", "scheduler", "build"))
    found = (_role(aws, name, deployment) for name in names)
    return tuple(role for role in found if role is not None)


def _role(aws: AWSClient, role: str, deployment: str) -> Role | None:
    """Return a role of the deployment's own; None where it is missing or another's."""
    tags = tags_from((find_role(aws, role) or {}).get("Tags", ()))
    if tags.get(OWNER_TAG) != deployment:
        return None
    policies = role_policies(aws, role)
    regions = policy_regions(policies)
    return Role(
        role,
        tuple(policies),
        {name: frozenset(found) for name, found in regions.items()},
        tuple(attached_policies(aws, role)),
    )


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
    roles: Sequence[Role],
) -> None:
    """Raise ConflictError when a model of others in this region needs what is ours.

    Without the image, the weights or the role it could not start again.
    """
    uris = {f"s3://{config.model.bucket}/{each.key}" for each in weights}
    arns = {aws.identity().role_arn(role.name): role.name for role in roles}
    if repository is None and not uris and not arns:
        return
    for summary in aws.pages("sagemaker", "list_models", "Models"):
        name = summary["ModelName"]
        if name in ours:
            continue
        try:
            made_from = ingredients_of(account.describe_model(name))
        except (AccessDeniedError, NotFoundError):
            continue
        used = []
        if repository and made_from.image == f"{aws.identity().registry}/{repository}":
            used.append(f"images of {repository}")
        data = made_from.weights
        if data and any(uri.startswith(data) for uri in uris):
            used.append(f"weights at {data}")
        if made_from.role in arns:
            used.append(f"role {arns[made_from.role]}")
        if used:
            raise ConflictError(
                f"model {name}, which is not of deployment {config.name}, uses "
                f"{' and '.join(used)}",
                hint="chandra-sagemaker destroy without --all keeps what it uses",
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

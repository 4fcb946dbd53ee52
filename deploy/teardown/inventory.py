"""Inventory of the resources with the tag of a deployment."""

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
from deploy.monitoring.account import dashboard_region, has_dashboard, list_alarms
from deploy.policies import policy_regions
from deploy.policies.roles import attached_policies, find_role, role_policies
from deploy.queue.endpoint import async_config, exchange_of
from deploy.resources import OWNER_TAG, log_group, tags_from
from deploy.teardown.models import ingredients_of
from deploy.teardown.plan import Inventory, Kept, ObjectVersion, Role
from deploy.teardown.versions import Staged, find_staged, list_uploads, list_versions

__all__ = ["read_inventories", "read_inventory"]


def read_inventories(
    aws: AWSClient, config: DeployConfig, *, everything: bool
) -> list[Inventory]:
    """Return the inventories of the asynchronous endpoint and of the deployment.

    With `everything`, they include what only `destroy --all` deletes.
    """
    try:
        beside = async_config(config, aws.identity())
    except ConfigError:
        return [read_inventory(aws, config, everything=everything)]
    try:
        first = read_inventory(aws, beside, everything=everything)
    except AccessDeniedError:
        # The least policy allows this only if the configuration has such an endpoint.
        if config.asynchronous.bucket is not None:
            raise
        return [read_inventory(aws, config, everything=everything)]
    if everything and config.asynchronous.bucket is not None:
        exchange = exchange_of(config)
        first = replace(
            first,
            bucket=exchange.bucket,
            exchanged=list_versions(aws, exchange.bucket, exchange.prefix),
            uploads=list_uploads(aws, exchange.bucket, exchange.prefix),
        )
    # `iam` creates no roles for it, so roles of this name belong to another deployment.
    first = replace(first, roles=())
    rest = read_inventory(aws, config, everything=everything, also_ours=first.models)
    return [first, rest]


def read_inventory(
    aws: AWSClient,
    config: DeployConfig,
    *,
    everything: bool,
    also_ours: Sequence[str] = (),
) -> Inventory:
    """Return the inventory of one endpoint.

    With `everything`, it includes what only `destroy --all` deletes. The models in
    `also_ours` are deleted too, so they do not keep images and weights. Raises
    ConflictError if another deployment uses what would be deleted.
    """
    account, name = Account(aws), config.name
    state = account.endpoint(name)
    is_ours = state is not None and state.is_ours
    roles = _find_roles(aws, name) if everything else ()
    staged = find_staged(aws, config) if everything else Staged()
    bucket = config.model.bucket
    configs = tuple(live.config for live in account.history(name))
    models = tuple(account.models(name))
    _refuse_if_used(aws, account, name, {*configs, *models})
    repository = _find_repository(aws, config) if everything else None
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
        alarms=tuple(alarm.name for alarm in list_alarms(aws, name)),
        has_dashboard=is_shown and not is_elsewhere,
        has_schedule=has_schedule_group(aws, name),
        is_scaled=is_ours and state is not None and state.is_scaled,
        roles=roles,
        repository=repository,
        build_project=_find_build_project(aws, name) if everything else None,
        bucket=bucket,
        weights=staged.versions,
        sources=list_versions(aws, bucket, sources_prefix(name)) if everything else (),
        uploads=(
            *staged.uploads,
            *(
                upload
                for prefix in (sources_prefix(name), transforms_prefix(name))
                if everything
                for upload in list_uploads(aws, bucket, prefix)
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
            list_versions(aws, bucket, transforms_prefix(name)) if everything else ()
        ),
        job_streams=_list_job_streams(aws, name) if everything else (),
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


def _find_roles(aws: AWSClient, deployment: str) -> tuple[Role, ...]:
    """Return the roles that `iam --create` made for a deployment."""
    names = (f"{deployment}-{kind}" for kind in ("execution", "scheduler", "build"))
    found = (_find_own_role(aws, name, deployment) for name in names)
    return tuple(role for role in found if role is not None)


def _find_own_role(aws: AWSClient, role: str, deployment: str) -> Role | None:
    """Return a role of the deployment; None if it is missing or has another owner."""
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
    """Raise ConflictError if an endpoint of others uses our configs or models.

    Without its config or model, an endpoint cannot be repaired, and its deletion hangs.
    """
    for summary in aws.pages("sagemaker", "list_endpoints", "Endpoints"):
        try:
            state = account.endpoint(summary["EndpointName"]) if ours else None
            if state is None or (state.is_ours and state.name == deployment):
                continue
            config = account.describe_config(state.config)
        except (AccessDeniedError, NotFoundError):
            # A caller without the right to describe it cannot have given it our config.
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
    """Raise ConflictError if a model of another deployment in this region uses ours.

    Without the image, the weights or the role, that model could not start again.
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


def _find_repository(aws: AWSClient, config: DeployConfig) -> str | None:
    name = config.image.repository
    tags = repository_tags(aws, name)
    is_ours = tags is not None and tags.get(OWNER_TAG) == config.name
    return name if is_ours else None


def _find_build_project(aws: AWSClient, deployment: str) -> str | None:
    name = f"{deployment}-image"
    found = aws.call("codebuild", "batch_get_projects", names=[name])["projects"]
    tags = {tag["key"]: tag["value"] for project in found for tag in project["tags"]}
    return name if tags.get(OWNER_TAG) == deployment else None


def _list_job_streams(aws: AWSClient, deployment: str) -> tuple[str, ...]:
    """Return the log streams of the deployment's jobs.

    Names are matched exactly: another deployment's name may begin with ours.
    """
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

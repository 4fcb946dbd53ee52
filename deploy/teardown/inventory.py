"""Inventory of the resources with the tag of a deployment."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from deploy.aws.client import AWSClient
from deploy.batch.job import LOG_GROUP, transforms_prefix
from deploy.batch.jobs import TransformJobs
from deploy.config import DeployConfig
from deploy.endpoint.account import Account
from deploy.endpoint.schedules import has_schedule_group
from deploy.errors import AccessDeniedError, ConflictError, NotFoundError
from deploy.image.codebuild import get_build_log_group, sources_prefix
from deploy.image.repository import read_repository_tags
from deploy.monitoring.account import dashboard_region, has_dashboard, list_alarms
from deploy.policies import policy_regions
from deploy.policies.roles import find_role, list_attached_policies, read_role_policies
from deploy.queue.endpoint import get_exchange
from deploy.resources import OWNER_TAG, log_group, tags_from
from deploy.teardown.models import ingredients_of
from deploy.teardown.plan import Inventory, KeptResource, ObjectVersion, Role
from deploy.teardown.versions import find_staged_objects, list_uploads, list_versions

__all__ = ["read_inventory", "with_exchanged_objects", "with_stored_resources"]


def read_inventory(aws: AWSClient, config: DeployConfig) -> Inventory:
    """Return the resources of one endpoint that `destroy` deletes without `--all`.

    A dashboard that shows another region is kept. Raises ConflictError if an endpoint
    of another deployment uses its configs or models.
    """
    account, name = Account(aws), config.name
    state = account.read_endpoint(name)
    is_ours = state is not None and state.is_ours
    configs = tuple(live.config for live in account.history(name))
    models = tuple(account.models(name))
    _refuse_if_used(aws, account, name, {*configs, *models})
    is_shown = has_dashboard(aws, name)
    shown = dashboard_region(aws, name) if is_shown else None
    is_elsewhere = shown not in (None, aws.region)
    alarms = list_alarms(aws, name)
    jobs = [
        job.name for job in TransformJobs(aws, name).list_own_jobs(status="InProgress")
    ]
    kept: tuple[KeptResource, ...] = ()
    if is_elsewhere:
        reason = f"it shows {shown}, and dashboards are global"
        remedy = f"it is deleted with the deployment in {shown}"
        kept = (KeptResource(f"dashboard {name}", reason, remedy),)
    return Inventory(
        name=name,
        endpoint=state if is_ours else None,
        configs=configs,
        models=models,
        alarms=tuple(alarm.name for alarm in alarms),
        has_dashboard=is_shown and not is_elsewhere,
        has_schedule=has_schedule_group(aws, name),
        is_scaled=is_ours and state is not None and state.is_scaled,
        bucket=config.model.bucket,
        jobs=tuple(jobs),
        kept=kept,
    )


def with_stored_resources(
    aws: AWSClient,
    config: DeployConfig,
    inventory: Inventory,
    *,
    deleted_models: Sequence[str] = (),
) -> Inventory:
    """Return the inventory with the resources that only `destroy --all` deletes.

    These are roles, images, build resources, logs, and objects in model.bucket. Raises
    ConflictError if a model of another deployment uses one of them. Those in
    `deleted_models` do not count: they are models of the other endpoint, which are
    deleted too.
    """
    name, bucket = config.name, config.model.bucket
    sources, transforms = sources_prefix(name), transforms_prefix(name)
    roles = _find_roles(aws, name)
    staged = find_staged_objects(aws, config)
    repository = _find_repository(aws, config)
    deleted = (*inventory.models, *deleted_models)
    _refuse_if_shared(aws, config, deleted, repository, staged.versions, roles)
    return replace(
        inventory,
        roles=roles,
        repository=repository,
        build_project=_find_build_project(aws, name),
        weights=staged.versions,
        sources=list_versions(aws, bucket, sources),
        uploads=(
            *staged.uploads,
            *list_uploads(aws, bucket, sources),
            *list_uploads(aws, bucket, transforms),
        ),
        log_groups=_find_log_groups(aws, (log_group(name), get_build_log_group(name))),
        job_objects=list_versions(aws, bucket, transforms),
        job_streams=_list_job_streams(aws, name),
    )


def with_exchanged_objects(
    aws: AWSClient, config: DeployConfig, inventory: Inventory
) -> Inventory:
    """Return the inventory of an asynchronous endpoint with its documents and results.

    `config` is the configuration of the deployment itself. `iam` creates no roles for
    the endpoint, so roles of its name belong to another deployment and are removed from
    the inventory. Without asynchronous.bucket nothing is added.
    """
    inventory = replace(inventory, roles=())
    if config.asynchronous.bucket is None:
        return inventory
    exchange = get_exchange(config)
    return replace(
        inventory,
        bucket=exchange.bucket,
        exchanged=list_versions(aws, exchange.bucket, exchange.prefix),
        uploads=list_uploads(aws, exchange.bucket, exchange.prefix),
    )


def _find_roles(aws: AWSClient, deployment: str) -> tuple[Role, ...]:
    """Return the existing roles of a deployment, with their policies.

    Roles that have another owner are left out.
    """
    roles = []
    for kind in ("execution", "scheduler", "build"):
        name = f"{deployment}-{kind}"
        tags = tags_from((find_role(aws, name) or {}).get("Tags", ()))
        if tags.get(OWNER_TAG) != deployment:
            continue
        policies = read_role_policies(aws, name)
        regions = {
            policy: frozenset(region_names)
            for policy, region_names in policy_regions(policies).items()
        }
        attached = tuple(list_attached_policies(aws, name))
        roles.append(Role(name, tuple(policies), regions, attached))
    return tuple(roles)


def _refuse_if_used(
    aws: AWSClient, account: Account, deployment: str, names: set[str]
) -> None:
    """Raise ConflictError if another endpoint uses one of the configs or models.

    `names` are their names. Without its config or model, an endpoint cannot be
    repaired, and its deletion hangs.
    """
    for summary in aws.pages("sagemaker", "list_endpoints", "Endpoints"):
        try:
            state = account.read_endpoint(summary["EndpointName"]) if names else None
            if state is None or (state.is_ours and state.name == deployment):
                continue
            config = account.describe_config(state.config)
        except (AccessDeniedError, NotFoundError):
            # A caller who may not describe it cannot have given it this config.
            continue
        models = {v.get("ModelName") for v in config["ProductionVariants"]}
        used = names & {state.config, *models}
        if used:
            raise ConflictError(
                f"endpoint {state.name}, which is not of deployment {deployment}, uses "
                f"{', '.join(sorted(used))}",
                hint=f"keep {deployment} until endpoint {state.name} has other configs",
            )


def _refuse_if_shared(
    aws: AWSClient,
    config: DeployConfig,
    deleted_models: Sequence[str],
    repository: str | None,
    weights: Sequence[ObjectVersion],
    roles: Sequence[Role],
) -> None:
    """Raise ConflictError if another model in this region uses what is deleted.

    Without the image, the weights or the role, that model could not start again.
    `deleted_models` are names of models that are deleted too.
    """
    uris = {f"s3://{config.model.bucket}/{each.key}" for each in weights}
    arns = {aws.identity().role_arn(role.name): role.name for role in roles}
    if repository is None and not uris and not arns:
        return
    account = Account(aws)
    for summary in aws.pages("sagemaker", "list_models", "Models"):
        name = summary["ModelName"]
        if name in deleted_models:
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
    """Return the name of the repository if it has the deployment's owner tag."""
    name = config.image.repository
    tags = read_repository_tags(aws, name)
    is_ours = tags is not None and tags.get(OWNER_TAG) == config.name
    return name if is_ours else None


def _find_build_project(aws: AWSClient, deployment: str) -> str | None:
    """Return the name of the CodeBuild project if it has the owner tag."""
    name = f"{deployment}-image"
    projects = aws.call("codebuild", "batch_get_projects", names=[name])["projects"]
    tags = {tag["key"]: tag["value"] for project in projects for tag in project["tags"]}
    return name if tags.get(OWNER_TAG) == deployment else None


def _list_job_streams(aws: AWSClient, deployment: str) -> tuple[str, ...]:
    """Return the log streams of the deployment's jobs.

    Names are matched exactly: another deployment's name may begin with this one.
    """
    own_stream = re.compile(rf"{re.escape(deployment)}-[0-9a-f]{{8}}/")
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
            if own_stream.match(stream["logStreamName"])
        )
    except NotFoundError:
        return ()


def _find_log_groups(aws: AWSClient, names: Sequence[str]) -> tuple[str, ...]:
    """Return those of `names` that are log groups."""
    existing = {
        item["logGroupName"]
        for name in names
        for item in aws.pages(
            "logs", "describe_log_groups", "logGroups", logGroupNamePrefix=name
        )
    }
    return tuple(name for name in names if name in existing)

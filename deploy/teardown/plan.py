"""Plan that deletes the resources of a deployment, in the order that AWS requires."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from deploy.batch.job import LOG_GROUP
from deploy.plan.actions import Action, Call, Goal, Wait
from deploy.plan.calls import delete_endpoint
from deploy.queue.scaling import build_unscale_call
from deploy.resources import EndpointState

__all__ = [
    "Inventory",
    "KeptResource",
    "ObjectVersion",
    "Role",
    "UnfinishedUpload",
    "plan_teardown",
]

OBJECTS_A_CALL = 1000


@dataclass(frozen=True, slots=True)
class Role:
    """Role, and the policies to delete with it."""

    name: str
    policies: tuple[str, ...]
    """Names of its inline policies."""
    regions: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """Regions of each policy that this package created, by policy name."""
    attached: tuple[str, ...] = ()
    """ARNs of managed policies, which are detached but never deleted."""
    is_kept: bool = False
    """True deletes only its policies, because another region uses the role."""


@dataclass(frozen=True, slots=True)
class KeptResource:
    """Global resource of a deployment that `destroy` does not delete."""

    what: str
    reason: str
    remedy: str
    """How to delete the resource, or what will delete it."""

    @property
    def sentence(self) -> str:
        return f"{self.what}: {self.reason}; {self.remedy}"

    def to_json(self) -> dict[str, str]:
        return {"what": self.what, "reason": self.reason, "remedy": self.remedy}


@dataclass(frozen=True, slots=True)
class ObjectVersion:
    """Version of an object in S3, or a delete marker."""

    key: str
    version: str
    is_current: bool = True
    """True for the version that a request for the key returns."""
    is_deletion: bool = False
    """True for a delete marker."""


@dataclass(frozen=True, slots=True)
class UnfinishedUpload:
    """Parts of an upload that was not completed."""

    key: str
    identifier: str


@dataclass(frozen=True, slots=True)
class Inventory:
    """Resources of one endpoint that `destroy` deletes, and those that it keeps."""

    name: str
    endpoint: EndpointState | None = None
    configs: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    alarms: tuple[str, ...] = ()
    has_dashboard: bool = False
    has_schedule: bool = False
    is_scaled: bool = False
    roles: tuple[Role, ...] = ()
    repository: str | None = None
    build_project: str | None = None
    bucket: str | None = None
    weights: tuple[ObjectVersion, ...] = ()
    """Staged weights."""
    sources: tuple[ObjectVersion, ...] = ()
    """Sources of builds with CodeBuild."""
    uploads: tuple[UnfinishedUpload, ...] = ()
    """Unfinished multipart uploads of weights or sources."""
    log_groups: tuple[str, ...] = ()
    jobs: tuple[str, ...] = ()
    """Running transform jobs. Jobs that have ended cannot be deleted."""
    job_objects: tuple[ObjectVersion, ...] = ()
    """Lists, requests and uploaded documents of transform jobs."""
    job_streams: tuple[str, ...] = ()
    """Log streams in the log group that all jobs of the account share."""
    exchanged: tuple[ObjectVersion, ...] = ()
    """Documents and results of an asynchronous endpoint."""
    kept: tuple[KeptResource, ...] = ()
    """Global resources that are kept because another region uses them."""

    @property
    def objects(self) -> tuple[tuple[str, tuple[ObjectVersion, ...]], ...]:
        """Pairs of a description and the object versions in the bucket."""
        return (
            ("staged weights", self.weights),
            ("build sources", self.sources),
            ("transform jobs", self.job_objects),
            ("documents and results", self.exchanged),
        )

    @property
    def has_objects(self) -> bool:
        """True if anything in the bucket would be deleted."""
        return bool(self.uploads) or any(versions for _, versions in self.objects)


def plan_teardown(inventory: Inventory, *, everything: bool) -> list[Action]:
    """Return the actions that delete the resources of an inventory.

    With `everything`, they delete images, staged weights, logs and roles too, and
    otherwise leave them, even if the inventory has them. The schedule is deleted first,
    because it would start the endpoint again. Configs and models are deleted after the
    endpoint, which can hang for an hour without them.
    """
    name = inventory.name
    actions: list[Action] = []
    if inventory.has_schedule:
        actions.append(
            Call(
                "scheduler",
                "delete_schedule_group",
                {"Name": name},
                f"delete schedule group {name} and its entries",
                may_be_missing=True,
            )
        )
    if inventory.is_scaled:
        actions.append(build_unscale_call(name))
    # Jobs cost money as long as they run.
    actions += [
        Call(
            "sagemaker",
            "stop_transform_job",
            {"TransformJobName": job},
            f"stop transform job {job}",
            may_be_missing=True,
        )
        for job in inventory.jobs
    ]
    actions += _plan_endpoint_deletion(inventory)
    if inventory.alarms:
        actions.append(
            Call(
                "cloudwatch",
                "delete_alarms",
                {"AlarmNames": list(inventory.alarms)},
                f"delete alarms {', '.join(inventory.alarms)}",
            )
        )
    if inventory.has_dashboard:
        actions.append(
            Call(
                "cloudwatch",
                "delete_dashboards",
                {"DashboardNames": [name]},
                f"delete dashboard {name}",
                may_be_missing=True,
            )
        )
    for noun, key, names in (
        ("endpoint_config", "EndpointConfigName", inventory.configs),
        ("model", "ModelName", inventory.models),
    ):
        actions += [
            Call(
                "sagemaker",
                f"delete_{noun}",
                {key: each},
                f"delete {noun.replace('_', ' ')} {each}",
                may_be_missing=True,
            )
            for each in names
        ]
    return actions + (_plan_stored_deletion(inventory) if everything else [])


def _plan_endpoint_deletion(inventory: Inventory) -> list[Action]:
    """Return the actions that delete the endpoint, and wait until it is gone.

    The list is empty without an endpoint.
    """
    state = inventory.endpoint
    if state is None:
        return []
    actions: list[Action] = []
    if state.is_changing and state.status != "Deleting":
        # SageMaker does not delete an endpoint that is changing.
        actions.append(Wait(state.name, Goal.SETTLED))
    if state.status != "Deleting":
        actions.append(delete_endpoint(state.name))
    return [*actions, Wait(state.name, Goal.DELETED)]


def _plan_stored_deletion(inventory: Inventory) -> list[Action]:
    """Return the actions that only `destroy --all` adds."""
    actions: list[Action] = [
        Call(
            "logs",
            "delete_log_group",
            {"logGroupName": group},
            f"delete log group {group}",
            may_be_missing=True,
        )
        for group in inventory.log_groups
    ]
    actions += [
        Call(
            "logs",
            "delete_log_stream",
            {"logGroupName": LOG_GROUP, "logStreamName": stream},
            f"delete log stream {stream}",
            may_be_missing=True,
        )
        for stream in inventory.job_streams
    ]
    if inventory.repository is not None:
        actions.append(
            Call(
                "ecr",
                "delete_repository",
                {"repositoryName": inventory.repository, "force": True},
                f"delete repository {inventory.repository} with every image in it",
                may_be_missing=True,
            )
        )
    if inventory.build_project is not None:
        actions.append(
            Call(
                "codebuild",
                "delete_project",
                {"name": inventory.build_project},
                f"delete CodeBuild project {inventory.build_project}",
                may_be_missing=True,
            )
        )
    # The marker files are deleted last: an interrupted `destroy` finds uploads by them.
    actions += [
        Call(
            "s3",
            "abort_multipart_upload",
            {
                "Bucket": inventory.bucket,
                "Key": upload.key,
                "UploadId": upload.identifier,
            },
            f"abort the unfinished upload of s3://{inventory.bucket}/{upload.key}",
            may_be_missing=True,
        )
        for upload in inventory.uploads
    ]
    for what, versions in inventory.objects:
        actions += _plan_object_deletion(inventory, what, versions)
    for role in inventory.roles:
        actions += _plan_role_deletion(role)
    return actions


def _plan_role_deletion(role: Role) -> list[Action]:
    """Return the calls that delete a role with its policies.

    Of a role that is kept, only the inline policies are deleted.
    """
    actions: list[Action] = [
        Call(
            "iam",
            "delete_role_policy",
            {"RoleName": role.name, "PolicyName": policy},
            f"delete policy {policy} of role {role.name}",
            may_be_missing=True,
        )
        for policy in role.policies
    ]
    if role.is_kept:
        return actions
    actions += [
        Call(
            "iam",
            "detach_role_policy",
            {"RoleName": role.name, "PolicyArn": arn},
            f"detach policy {arn} from role {role.name}",
            may_be_missing=True,
        )
        for arn in role.attached
    ]
    return [
        *actions,
        Call(
            "iam",
            "delete_role",
            {"RoleName": role.name},
            f"delete role {role.name}",
            may_be_missing=True,
        ),
    ]


def _plan_object_deletion(
    inventory: Inventory, what: str, versions: Sequence[ObjectVersion]
) -> list[Action]:
    """Return the calls that delete object versions.

    A versioned bucket keeps all versions of an object that is deleted by its key alone.
    """
    batches = [
        versions[start : start + OBJECTS_A_CALL]
        for start in range(0, len(versions), OBJECTS_A_CALL)
    ]
    return [
        Call(
            "s3",
            "delete_objects",
            {
                "Bucket": inventory.bucket,
                "Delete": {
                    "Objects": [
                        {"Key": version.key, "VersionId": version.version}
                        for version in batch
                    ],
                    "Quiet": True,
                },
            },
            f"delete {_count_text(batch)} of {what} from s3://{inventory.bucket}",
        )
        for batch in batches
    ]


def _count_text(versions: Sequence[ObjectVersion]) -> str:
    """Return `2 objects`, or `5 versions of 2 objects` if there are older ones."""
    num_objects = len({version.key for version in versions})
    objects = f"{num_objects} object{'s' if num_objects > 1 else ''}"
    if all(version.is_current for version in versions):
        return objects
    return f"{len(versions)} versions of {objects}"

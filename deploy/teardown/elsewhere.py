"""Uses of a deployment's roles and objects in other regions of the account.

`destroy --all` looks them up before it deletes global resources.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from deploy.aws.client import AWSClient
from deploy.aws.regions import DESCRIBE_REGIONS, regions_with_sagemaker
from deploy.batch.jobs import TransformJobs
from deploy.config import DeployConfig
from deploy.endpoint.account import Account
from deploy.errors import AccessDeniedError, DeployError, NotFoundError
from deploy.queue.endpoint import async_name
from deploy.resources import OWNER_TAG
from deploy.teardown.models import ingredients_of
from deploy.teardown.sharing import RegionUse

__all__ = ["GlobalResources", "find_uses_elsewhere"]

NUM_AT_ONCE = 8
SAGEMAKER = "sagemaker"


@dataclass(frozen=True, slots=True)
class GlobalResources:
    """Roles and objects that `destroy` would delete, and other regions may use."""

    roles: Mapping[str, str]
    """Names of roles by ARN."""
    objects: Collection[str]
    """s3:// addresses of weights."""


def find_uses_elsewhere(
    aws: AWSClient,
    config: DeployConfig,
    needed: GlobalResources,
    *,
    also: Collection[str] = (),
    skipped: Collection[str] = (),
) -> list[RegionUse]:
    """Return how each other region uses the roles and objects in `needed`.

    All enabled regions are read in parallel, and those in `also`, but none of
    `skipped`. If regions cannot be read, raises a DeployError that names them, of the
    class of the first one's error.
    """
    regions, are_enabled = regions_with_sagemaker(aws)
    others = sorted({*regions, *also} - {str(aws.region), *skipped})
    lookups = [
        _Lookup(
            aws.in_region(region),
            config.name,
            (config.name, async_name(config)),
            needed,
        )
        for region in others
    ]
    with ThreadPoolExecutor(NUM_AT_ONCE) as threads:
        answers = list(threads.map(_Lookup.use_or_error, lookups))
    failed = {
        region: answer
        for region, answer in zip(others, answers, strict=True)
        if isinstance(answer, DeployError)
    }
    if failed:
        raise _error_naming_regions(config.name, failed, are_enabled=are_enabled)
    return [answer for answer in answers if isinstance(answer, RegionUse)]


class _Lookup:
    """Lookup of the uses in one region.

    Create it in the main thread: creating a boto3 client is not thread-safe.
    """

    def __init__(
        self,
        aws: AWSClient,
        deployment: str,
        endpoints: Sequence[str],
        needed: GlobalResources,
    ) -> None:
        self._aws = aws
        self._account = Account(aws)
        self._deployment = deployment
        self._endpoints = endpoints
        self._needed = needed
        aws.client(SAGEMAKER)

    def use_or_error(self) -> RegionUse | DeployError:
        """Return the uses, or the error of the request that failed."""
        try:
            return self._find_uses()
        except DeployError as error:
            return error

    def _find_uses(self) -> RegionUse:
        """Read all models of the region, and the deployment's own resources in it.

        Models of others that the caller may not describe become `unknown`.
        """
        roles: dict[str, str] = {}
        weights: dict[str, str] = {}
        unknown = []
        deployed = list(self._own_resources())
        for summary in self._aws.pages(SAGEMAKER, "list_models", "Models"):
            name = summary["ModelName"]
            try:
                made_from = ingredients_of(self._account.describe_model(name))
            except NotFoundError:
                continue
            except AccessDeniedError:
                if name.startswith(f"{self._deployment}-"):
                    raise
                # The least policy allows to describe only this deployment's models.
                unknown.append(name)
                continue
            if made_from.role in self._needed.roles:
                roles[self._needed.roles[made_from.role]] = name
            if made_from.weights and any(
                each.startswith(made_from.weights) for each in self._needed.objects
            ):
                weights[made_from.weights] = name
        return RegionUse(
            region=str(self._aws.region),
            deployed=tuple(what for _, what in deployed),
            endpoints=frozenset(name for name, _ in deployed),
            roles=roles,
            weights=weights,
            unknown=tuple(unknown),
        )

    def _own_resources(self) -> Iterator[tuple[str, str]]:
        """Yield endpoint name and description of each resource of the deployment.

        Endpoints come first, then running jobs, then configs and models. Schedules and
        builds are not listed: a schedule has an endpoint config, and a build's role has
        a policy for its region.
        """
        for summary in self._aws.pages(
            SAGEMAKER, "list_endpoints", "Endpoints", NameContains=self._deployment
        ):
            name = summary["EndpointName"]
            if name not in self._endpoints:
                continue
            if self._account.tags(summary["EndpointArn"]).get(OWNER_TAG) == name:
                yield name, f"endpoint {name}"
        for job in TransformJobs(self._aws, self._deployment).list_own_jobs(
            status="InProgress"
        ):
            yield self._deployment, f"transform job {job.name}"
        for name in self._endpoints:
            for live in self._account.history(name):
                yield name, f"endpoint config {live.config}"
            for model in self._account.models(name):
                yield name, f"model {model}"


def _error_naming_regions(
    deployment: str, failed: Mapping[str, DeployError], *, are_enabled: bool
) -> DeployError:
    """Return the first error, with a message that names all regions that failed.

    The hint lists the ways to continue.
    """
    *others, last = failed
    named = f"{', '.join(others)} and {last}" if others else last
    flags = " ".join(f"--not-in {region}" for region in failed)
    error = next(iter(failed.values()))
    enabled = (
        ""
        if are_enabled
        else f" (which regions are enabled is not known without {DESCRIBE_REGIONS})"
    )
    return error.with_message(
        f"{named} cannot be asked whether {deployment} is deployed there, and its "
        f"roles and objects in S3 are global{enabled}: {error.message}",
        hint="chandra-sagemaker iam --caller prints the policy that allows it; or "
        "destroy --all --keep-global, which keeps roles and objects in S3; or "
        f"destroy --all {flags}, if nothing there can use them",
    )

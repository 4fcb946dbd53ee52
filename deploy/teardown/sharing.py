"""Rules for roles and objects that `destroy` keeps because other regions use them.

Roles are global, and objects can be read from any region: `destroy` in one region must
not delete what a deployment uses in another region, under the same or another name. The
functions call no AWS; `deploy.teardown.elsewhere` finds the uses.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

from deploy.teardown.plan import Inventory, KeptResource, Role

__all__ = [
    "RegionUse",
    "keep_everything",
    "keep_objects",
    "keep_results",
    "keep_roles",
    "keep_weights",
    "unknown_models",
]

BY_OPTION = "--keep-global"


@dataclass(frozen=True, slots=True)
class RegionUse:
    """Resources of another region that need roles or objects of a deployment."""

    region: str
    deployed: tuple[str, ...] = ()
    """The deployment's own resources there, such as `endpoint ocr`."""
    endpoints: frozenset[str] = frozenset()
    """Endpoints with resources in that region, such as a config."""
    roles: Mapping[str, str] = field(default_factory=dict)
    """A model in the region that runs with the role, by name of the role."""
    weights: Mapping[str, str] = field(default_factory=dict)
    """A model in the region that loads the weights, by their s3:// address."""
    unknown: tuple[str, ...] = ()
    """Models of others that the caller may not describe."""

    @property
    def is_idle(self) -> bool:
        """True if `destroy --all` there would take down nothing."""
        return not (self.deployed or self.roles or self.weights)


def keep_roles(
    roles: Sequence[Role], region: str, uses: Sequence[RegionUse]
) -> tuple[tuple[Role, ...], list[KeptResource]]:
    """Return the roles to delete something of in `region`, and those that are kept.

    A role that no other region uses is deleted. From a role that is used, only the
    policies of `region` are deleted, and it is in both lists. If a region that uses it
    has no policy in it, no policy is deleted. A policy for another region keeps the
    role, even if `uses` does not have that region because it was not read.
    """
    left, kept = [], []
    for role in roles:
        users = {
            use.region: use for use in uses if use.deployed or role.name in use.roles
        }
        recorded = set().union(*role.regions.values()) - {region}
        if not users and not recorded:
            left.append(role)
            continue
        without = sorted(users.keys() - recorded)
        policies = tuple(
            name for name, regions in role.regions.items() if regions == {region}
        )
        if without:
            policies = ()
        if policies:
            left.append(replace(role, policies=policies, attached=(), is_kept=True))
        kept.append(_kept_role(role, users, recorded - users.keys(), without, uses))
    return tuple(left), kept


def _kept_role(
    role: Role,
    users: Mapping[str, RegionUse],
    recorded: Collection[str],
    without: Sequence[str],
    uses: Sequence[RegionUse],
) -> KeptResource:
    """Return why a role is kept, and how to delete it.

    Args:
        users: uses of the regions that use it.
        recorded: other regions for which it has a policy.
        without: regions that use it without a policy for them.
        uses: uses of all regions that were read.
    """
    uses_by_region = {use.region: use for use in uses}
    reasons, remedies = [], []
    for region, use in sorted(users.items()):
        if use.deployed:
            reasons.append(_deployed_sentence(use))
            remedies.append(_regional_remedy(region))
        else:
            model = use.roles[role.name]
            reasons.append(f"model {model} in {region} runs with it")
            remedies.append(f"it can be deleted after model {model}")
    for region in sorted(recorded):
        reasons.append(f"its policy for {region} says that it is used there")
        if region not in uses_by_region:
            remedies.append(_manual_remedy(role, region))
        elif uses_by_region[region].is_idle:
            remedies.append(
                f"chandra-sagemaker destroy --all --region {region} deletes it"
            )
        else:
            remedies.append(_regional_remedy(region))
    if without:
        reasons.append(
            f"all its policies stay, as it has none for {', '.join(without)}: "
            f"chandra-sagemaker iam --create --region {without[0]} makes one"
        )
    return KeptResource(f"role {role.name}", "; ".join(reasons), "; ".join(remedies))


def keep_objects(
    inventory: Inventory, bucket_region: str, uses: Sequence[RegionUse]
) -> Inventory:
    """Return the inventory with all objects kept, because their bucket is elsewhere.

    SageMaker and CodeBuild use buckets of their own region only, so the objects belong
    to the deployment in `bucket_region`. An inventory without objects stays as it is.
    """
    use = next((u for u in uses if u.region == bucket_region), RegionUse(bucket_region))
    is_idle = use in uses and use.is_idle
    return _without_objects(
        inventory,
        f"the bucket is in {bucket_region}"
        + (f", and {_deployed_sentence(use)}" if use.deployed else ""),
        f"chandra-sagemaker destroy --all --region {bucket_region} deletes them"
        if is_idle
        else _regional_remedy(bucket_region, "they are deleted"),
    )


def keep_results(inventory: Inventory, uses: Sequence[RegionUse]) -> Inventory:
    """Return the inventory with documents and results kept if another region has them.

    They are kept if an endpoint of the same name has resources in another region: the
    queues of a deployment share one prefix in all regions.
    """
    use = next((u for u in uses if inventory.name in u.endpoints), None)
    if use is None or not (inventory.exchanged or inventory.uploads):
        return inventory
    kept = KeptResource(
        f"documents and results in s3://{inventory.bucket}",
        _deployed_sentence(use),
        _regional_remedy(use.region, "they are deleted"),
    )
    return replace(inventory, exchanged=(), uploads=(), kept=(*inventory.kept, kept))


def keep_weights(inventory: Inventory, uses: Sequence[RegionUse]) -> Inventory:
    """Return the inventory with all its weights kept if a model elsewhere uses some."""
    users = [
        (use.region, model)
        for use in uses
        for address, model in sorted(use.weights.items())
        if any(
            f"s3://{inventory.bucket}/{version.key}".startswith(address)
            for version in inventory.weights
        )
    ]
    if not users:
        return inventory
    region, model = users[0]
    kept = KeptResource(
        f"staged weights in s3://{inventory.bucket}",
        f"model {model} in {region} loads them",
        f"they can be deleted when model {model} is gone",
    )
    return replace(inventory, weights=(), kept=(*inventory.kept, kept))


def keep_everything(inventory: Inventory) -> Inventory:
    """Return the inventory with all roles and all objects kept, used or not."""
    left = _without_objects(inventory, BY_OPTION, "destroy --all without it")
    kept = [
        KeptResource(f"role {role.name}", BY_OPTION, "destroy --all without it")
        for role in inventory.roles
    ]
    return replace(left, roles=(), kept=(*left.kept, *kept))


def unknown_models(uses: Sequence[RegionUse]) -> list[str]:
    """Return a note on each region with models that could not be described."""
    return [
        f"note: {len(use.unknown)} models of others in {use.region} cannot be "
        f"described, such as {use.unknown[0]}: they may use these roles or weights"
        for use in uses
        if use.unknown
    ]


def _without_objects(inventory: Inventory, reason: str, remedy: str) -> Inventory:
    """Return the inventory with its objects and uploads moved to `kept`."""
    what = [
        f"{len({version.key for version in versions})} of {name}"
        for name, versions in inventory.objects
        if versions
    ]
    if not inventory.has_objects:
        return inventory
    listed = ", ".join(what) or "unfinished uploads"
    kept = KeptResource(
        f"objects in s3://{inventory.bucket} ({listed})",
        reason,
        remedy,
    )
    return replace(
        inventory,
        weights=(),
        sources=(),
        uploads=(),
        job_objects=(),
        exchanged=(),
        kept=(*inventory.kept, kept),
    )


def _deployed_sentence(use: RegionUse) -> str:
    """Return a clause such as "eu-west-1 has endpoint ocr and 2 more"."""
    more = len(use.deployed) - 1
    return f"{use.region} has {use.deployed[0]}" + (f" and {more} more" if more else "")


def _manual_remedy(role: Role, region: str) -> str:
    """Return how to delete a role that an unchecked region may still use."""
    names = [name for name, regions in role.regions.items() if region in regions]
    return (
        f"{region} was not asked: if nothing there uses the role, delete policy "
        f"{' and '.join(names)} in it, then run the same command again"
    )


def _regional_remedy(region: str, words: str = "it is deleted") -> str:
    return f"{words} with the deployment in {region}"

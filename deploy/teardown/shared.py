"""Exclusion of global resources that another region uses from `destroy --all`."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

from deploy.aws.buckets import bucket_region
from deploy.aws.client import AWSClient
from deploy.config import DeployConfig
from deploy.errors import NotFoundError
from deploy.teardown.elsewhere import GlobalResources, find_uses_elsewhere
from deploy.teardown.plan import Inventory
from deploy.teardown.sharing import (
    keep_everything,
    keep_objects,
    keep_results,
    keep_roles,
    keep_weights,
    unknown_models,
)

__all__ = ["keep_shared"]


def keep_shared(
    aws: AWSClient,
    config: DeployConfig,
    inventories: Sequence[Inventory],
    *,
    keeps_global: bool = False,
    skipped: Collection[str] = (),
) -> tuple[list[Inventory], list[str]]:
    """Return the inventories without resources that other regions use, and notes.

    What is removed is listed in their `kept`. The notes are about models that cannot be
    described. `keeps_global` removes all roles and objects, and reads no region.
    `skipped` are regions that are not read. Raises DeployError when one of the others
    cannot be read.
    """
    if keeps_global:
        return [keep_everything(each) for each in inventories], []
    here = str(aws.region)
    places = {
        bucket: _region_of(aws, bucket) or here
        for bucket in sorted({each.bucket or "" for each in inventories} - {""})
        if any(each.bucket == bucket and each.has_objects for each in inventories)
    }
    elsewhere = set(places.values()) - {here}
    roles = [role for each in inventories for role in each.roles]
    weights = [
        f"s3://{each.bucket}/{version.key}"
        for each in inventories
        for version in each.weights
    ]
    has_results = any(each.exchanged for each in inventories)
    if not (roles or weights or has_results or elsewhere):
        return list(inventories), []
    recorded = {
        r for role in roles for regions in role.regions.values() for r in regions
    }
    uses = find_uses_elsewhere(
        aws,
        config,
        GlobalResources(
            {aws.identity().role_arn(r.name): r.name for r in roles}, weights
        ),
        also=recorded | elsewhere,
        skipped=skipped,
    )
    shared = []
    for each in inventories:
        place = places.get(each.bucket or "", here)
        if place != here:
            left = keep_objects(each, place, uses)
        else:
            left = keep_weights(each, uses)
            if each.exchanged:
                left = keep_results(left, uses)
        left_roles, kept = keep_roles(each.roles, here, uses)
        shared.append(replace(left, roles=left_roles, kept=(*left.kept, *kept)))
    return shared, unknown_models(uses)


def _region_of(aws: AWSClient, bucket: str) -> str | None:
    """Return the region of a bucket; None if the bucket does not exist."""
    try:
        return bucket_region(aws, bucket)
    except NotFoundError:
        return None

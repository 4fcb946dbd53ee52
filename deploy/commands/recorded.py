"""Clean up the lock file after `destroy --all`."""

from __future__ import annotations

from dataclasses import replace

from deploy.config import ModelSource, drop_from_lock, lock_path, read_lock
from deploy.context import Context
from deploy.errors import ConfigError, DeployError, NotFoundError
from deploy.image.registry import describe_image, repository_params
from deploy.resources import image_address, weights_uri
from deploy.weights.store import Store

__all__ = ["forget_missing"]


def forget_missing(context: Context) -> list[str]:
    """Remove an image and weights that do not exist any more from the lock file.

    Return lines to print: what was removed, or why the file was not changed. An image
    of another account or region stays.
    """
    lock = lock_path(context.config_path)
    try:
        tables = read_lock(context.config_path)
        gone = {}
        if _is_image_gone(context, tables.get("image", {}).get("uri")):
            gone["image"] = "image"
        if _are_weights_gone(context, tables.get("model", {}).get("revision")):
            gone["model"] = "weights"
        drop_from_lock(context.config_path, gone)
    except DeployError as error:
        return [
            f"{lock.name} was not changed: {error.message}",
            f"try: {error.hint or f'delete {lock} before you deploy again'}",
        ]
    if not gone:
        return []
    what = " and ".join(gone.values())
    steps = {"image": "image push", "model": "model stage"}
    commands = " and ".join(steps[table] for table in gone)
    return [
        f"{lock.name} no longer names the {what}: chandra-sagemaker {commands} before "
        "the next deploy"
    ]


def _is_image_gone(context: Context, uri: object) -> bool:
    # A value in the lock file may have any type if chandra.toml overrides it.
    address = image_address(uri) if isinstance(uri, str) else None
    here = context.identity
    if address is None or (address.account, address.region) != (
        here.account,
        here.region,
    ):
        return False
    try:
        describe_image(context.aws, address.digest, **repository_params(address))
    except NotFoundError:
        return True
    return False


def _are_weights_gone(context: Context, revision: object) -> bool:
    config = context.config
    bucket = config.model.bucket
    if bucket is None or not isinstance(revision, str):
        return False
    table = replace(config.model, revision=revision, source=ModelSource.S3)
    try:
        uri = weights_uri(replace(config, model=table))
    except ConfigError:
        return False
    prefix = uri.removeprefix(f"s3://{bucket}/")
    return Store(context.aws, bucket).read_manifest(prefix) is None

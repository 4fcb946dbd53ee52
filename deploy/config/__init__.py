"""Configuration of a deployment, from chandra.toml and chandra.lock.json.

People write chandra.toml. `image push` and `model stage` write chandra.lock.json: the
digest and the revision that a deployment uses until the next push.
"""

from deploy.config.deployment import MAX_NAME, DeployConfig
from deploy.config.files import (
    config_from,
    drop_from_lock,
    lock_path,
    read_config,
    read_lock,
    write_lock,
)
from deploy.config.rules import check_environment, is_secret
from deploy.config.tables import (
    AsynchronousTable,
    CaptureTable,
    EndpointTable,
    ImageTable,
    ModelSource,
    ModelTable,
    NetworkTable,
    TransformTable,
    TransformWeights,
    UpdateStrategy,
    UpdateTable,
)

__all__ = [
    "MAX_NAME",
    "AsynchronousTable",
    "CaptureTable",
    "DeployConfig",
    "EndpointTable",
    "ImageTable",
    "ModelSource",
    "ModelTable",
    "NetworkTable",
    "TransformTable",
    "TransformWeights",
    "UpdateStrategy",
    "UpdateTable",
    "check_environment",
    "config_from",
    "drop_from_lock",
    "is_secret",
    "lock_path",
    "read_config",
    "read_lock",
    "write_lock",
]

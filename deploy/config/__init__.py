"""What can be set, from chandra.toml and chandra.lock.json, read once.

chandra.toml is written by people. chandra.lock.json is written by `image push` and
`model stage`: the digest and the revision that a deployment uses until the next push.
"""

from deploy.config.asynchronous import AsynchronousTable
from deploy.config.deployment import MAX_NAME, DeployConfig
from deploy.config.files import lock_path, read_config, write_lock
from deploy.config.mapping import config_from
from deploy.config.rules import check_environment, is_secret
from deploy.config.tables import (
    CaptureTable,
    EndpointTable,
    ImageTable,
    ModelTable,
    NetworkTable,
    UpdateTable,
)
from deploy.config.transform import TransformTable

__all__ = [
    "MAX_NAME",
    "AsynchronousTable",
    "CaptureTable",
    "DeployConfig",
    "EndpointTable",
    "ImageTable",
    "ModelTable",
    "NetworkTable",
    "TransformTable",
    "UpdateTable",
    "check_environment",
    "config_from",
    "is_secret",
    "lock_path",
    "read_config",
    "write_lock",
]

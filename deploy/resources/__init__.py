"""Resources of a deployment: models, endpoint configs and endpoints, as values.

Models and endpoint configs cannot be changed once they are created, so their names end
in a digest of their contents. Equal names mean equal contents, so that a planner only
compares names.
"""

from deploy.resources.endpoint import (
    VARIANT,
    AsyncInference,
    Endpoint,
    EndpointConfig,
    SageMakerModel,
    Variant,
)
from deploy.resources.from_config import (
    endpoint_from,
    image_uri,
    revision_of,
    weights_uri,
)
from deploy.resources.names import (
    DESCRIBED_TAG,
    LIVE_TAG,
    OWNER_TAG,
    REVISION_TAG,
    STOPPED_TAG,
    Identity,
    ImageAddress,
    digest,
    image_address,
    log_group,
    tag_list,
    tags_from,
    tags_of,
)
from deploy.resources.observed import (
    DatedConfig,
    EndpointState,
    describe_count_drift,
    stopped_config,
)
from deploy.resources.running import (
    FIXED_VARIABLES,
    Edits,
    Machines,
    Running,
    RunningConfig,
    RunningModel,
)
from deploy.resources.settings import (
    HIDDEN,
    Difference,
    differences_between,
    main_variant,
    main_variant_index,
)
from deploy.resources.target import Target

__all__ = [
    "DESCRIBED_TAG",
    "FIXED_VARIABLES",
    "HIDDEN",
    "LIVE_TAG",
    "OWNER_TAG",
    "REVISION_TAG",
    "STOPPED_TAG",
    "VARIANT",
    "AsyncInference",
    "DatedConfig",
    "Difference",
    "Edits",
    "Endpoint",
    "EndpointConfig",
    "EndpointState",
    "Identity",
    "ImageAddress",
    "Machines",
    "Running",
    "RunningConfig",
    "RunningModel",
    "SageMakerModel",
    "Target",
    "Variant",
    "describe_count_drift",
    "differences_between",
    "digest",
    "endpoint_from",
    "image_address",
    "image_uri",
    "log_group",
    "main_variant",
    "main_variant_index",
    "revision_of",
    "stopped_config",
    "tag_list",
    "tags_from",
    "tags_of",
    "weights_uri",
]

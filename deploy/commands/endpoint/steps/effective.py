"""chandra.toml as it would be if it described the endpoint that runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from deploy.config import (
    CaptureTable,
    DeployConfig,
    ModelSource,
    ModelTable,
    NetworkTable,
    is_secret,
)
from deploy.resources import Running, main_variant_index

__all__ = ["config_with_running_settings"]

S3 = "s3://"


def config_with_running_settings(
    config: DeployConfig, running: Running
) -> DeployConfig:
    """Return `config` with the settings of `running`, for the preflight checks.

    Settings that the rules of the file do not allow keep the file's value: SageMaker
    has already accepted them.
    """
    contents, model = running.config.contents, running.model
    variant = contents["ProductionVariants"][main_variant_index(contents)]
    source = _weights_table(config.model, model.container, model.environment)
    is_isolated = bool(model.contents.get("EnableNetworkIsolation", False))
    vpc: Mapping[str, Any] = model.contents.get("VpcConfig") or {}
    machines = running.variant
    endpoint = replace(
        config.endpoint,
        instance_types=machines.instance_types or config.endpoint.instance_types,
        instance_count=max(1, machines.instance_count),
        ami=variant.get("InferenceAmiVersion", config.endpoint.ami),
        volume_gb=variant.get("VolumeSizeInGB"),
        environment={
            name: value
            for name, value in model.environment.items()
            if not is_secret(name, value)
        },
    )
    capture = contents.get("DataCaptureConfig") or {}
    return replace(
        config,
        role=model.contents.get("ExecutionRoleArn", config.role),
        image=config.image.with_uri(model.image if "@sha256:" in model.image else None),
        model=source,
        endpoint=endpoint,
        network=NetworkTable(
            isolation=is_isolated and source.source is ModelSource.S3,
            subnets=tuple(vpc.get("Subnets", ())),
            security_groups=tuple(vpc.get("SecurityGroupIds", ())),
            kms_key=contents.get("KmsKeyId"),
        ),
        capture=CaptureTable(uri=capture.get("DestinationS3Uri")),
    )


def _weights_table(
    table: ModelTable, container: Mapping[str, Any], environment: Mapping[str, str]
) -> ModelTable:
    """Return the model table for the place that the container's weights come from."""
    place = container.get("ModelDataSource", {}).get("S3DataSource", {}).get("S3Uri")
    if place is None:
        return replace(table, source=ModelSource.HUB)
    bucket, _, key = str(place).removeprefix(S3).partition("/")
    model = environment.get("MODEL_ID", table.id)
    revision = environment.get("MODEL_REVISION", "")
    path = key.strip("/")
    end = f"{model}/{revision}"
    if revision and (path == end or path.endswith(f"/{end}")):
        prefix = path.removesuffix(end).strip("/")
    else:
        prefix, _, revision = path.rpartition("/")
        prefix, _, model = prefix.rpartition("/")
    if not (model and revision):
        return table
    return replace(
        table,
        id=model,
        revision=revision,
        source=ModelSource.S3,
        bucket=bucket,
        prefix=prefix,
    )

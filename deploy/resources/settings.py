"""Settings of an endpoint config and its model by name, to compare and print them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from deploy.config import is_secret

__all__ = [
    "HIDDEN",
    "VARIANT",
    "Difference",
    "differences_between",
    "main_variant",
    "main_variant_index",
    "settings_of",
]

VARIANT = "AllTraffic"
NONE = "none"
HIDDEN = "(hidden)"
"""Shown in place of a credential."""
# Names of settings by their paths in AWS's requests; other paths are shown as they are.
NAMES = {
    "InstanceType": "instance_type",
    "InitialInstanceCount": "instance_count",
    "InferenceAmiVersion": "ami",
    "ContainerStartupHealthCheckTimeoutInSeconds": "startup_timeout_seconds",
    "ModelDataDownloadTimeoutInSeconds": "download_timeout_seconds",
    "VariantInstanceProvisionTimeoutInSeconds": "provision_timeout_seconds",
    "VolumeSizeInGB": "volume_gb",
    "KmsKeyId": "kms_key",
    "DataCaptureConfig.EnableCapture": "capture.enabled",
    "DataCaptureConfig.DestinationS3Uri": "capture.uri",
    "DataCaptureConfig.InitialSamplingPercentage": "capture.percent",
    "AsyncInferenceConfig.OutputConfig.S3OutputPath": "asynchronous.output",
    "AsyncInferenceConfig.OutputConfig.S3FailurePath": "asynchronous.failure",
    "AsyncInferenceConfig.OutputConfig.KmsKeyId": "asynchronous.kms_key",
    "AsyncInferenceConfig.OutputConfig.NotificationConfig.SuccessTopic": (
        "asynchronous.success_topic"
    ),
    "AsyncInferenceConfig.OutputConfig.NotificationConfig.ErrorTopic": (
        "asynchronous.error_topic"
    ),
    "AsyncInferenceConfig.ClientConfig.MaxConcurrentInvocationsPerInstance": (
        "asynchronous.concurrency"
    ),
    "PrimaryContainer.Image": "image",
    "PrimaryContainer.ModelDataUrl": "weights",
    "PrimaryContainer.ModelDataSource.S3DataSource.S3Uri": "weights",
    "ExecutionRoleArn": "role",
    "EnableNetworkIsolation": "isolation",
    "VpcConfig.Subnets": "subnets",
    "VpcConfig.SecurityGroupIds": "security_groups",
}
ENVIRONMENT = "PrimaryContainer.Environment"


@dataclass(frozen=True, slots=True)
class Difference:
    """Change of a setting; a value is None if the setting is not set.

    Credentials in the environment are hidden in what it returns.
    """

    setting: str
    old: str | None
    new: str | None

    @property
    def sentence(self) -> str:
        """Text such as "instance_count: 1 -> 2", with digests shortened."""
        old, new = self._shown(self.old), self._shown(self.new)
        repository, at, _ = old.partition("@sha256:")
        if at and new.startswith(f"{repository}{at}"):
            # Within one repository, twelve digits distinguish the digests.
            old, new = (text.partition("@")[2][:19] for text in (old, new))
        return f"{self.setting}: {old} -> {new}"

    def to_json(self) -> dict[str, str | None]:
        old, new = (
            None if value is None else self._shown(value)
            for value in (self.old, self.new)
        )
        return {"setting": self.setting, "live": old, "wanted": new}

    def _shown(self, value: str | None) -> str:
        if value is None:
            return NONE
        _, is_variable, name = self.setting.partition("environment.")
        # Other programs may have put credentials into the environment.
        return HIDDEN if is_variable and is_secret(name, value) else value


def differences_between(
    old: Mapping[str, str], new: Mapping[str, str]
) -> list[Difference]:
    """Return the settings that differ: first those of `old`, then new ones."""
    return [
        Difference(name, old.get(name), new.get(name))
        for name in [*old, *(name for name in new if name not in old)]
        if old.get(name) != new.get(name)
    ]


def settings_of(config: Mapping[str, Any], model: Mapping[str, Any]) -> dict[str, str]:
    """Return the settings in the requests of an endpoint config and its model, by name.

    The names of the main variant and of its model are left out, and so are tags.
    Credentials are not hidden.
    """
    return dict(_settings(config, model))


def main_variant_index(config: Mapping[str, Any]) -> int:
    """Return the index of the main variant: AllTraffic, or else the first."""
    names = [item.get("VariantName") for item in config["ProductionVariants"]]
    return names.index(VARIANT) if VARIANT in names else 0


def main_variant(description: Mapping[str, Any]) -> dict[str, Any]:
    """Return the main variant of a config, an endpoint or a pending update.

    It is the variant AllTraffic, or else the first. It is empty if the description has
    no variants.
    """
    if not description.get("ProductionVariants"):
        return {}
    return dict(description["ProductionVariants"][main_variant_index(description)])


def _settings(
    config: Mapping[str, Any], model: Mapping[str, Any]
) -> Iterator[tuple[str, str]]:
    """Yield name and text of each setting of a config and its model."""
    main = main_variant_index(config)
    for number, variant in enumerate(config["ProductionVariants"]):
        where = "" if number == main else f"variant {variant['VariantName']}: "
        machines = dict(variant)
        if number == main:
            del machines["VariantName"]
            machines.pop("ModelName", None)
        pools = machines.pop("InstancePools", None)
        if pools is not None:
            pools = sorted(pools, key=lambda pool: int(pool.get("Priority", 0)))
            kinds = [str(pool["InstanceType"]) for pool in pools]
            machines = {"InstanceType": kinds, **machines}
        for path, text in _flatten(machines):
            yield where + NAMES.get(path, path), text
    others = {k: v for k, v in config.items() if k != "ProductionVariants"}
    for path, text in (*_flatten(others), *_flatten(model)):
        if path.startswith(f"{ENVIRONMENT}."):
            yield f"environment.{path.removeprefix(f'{ENVIRONMENT}.')}", text
        else:
            yield NAMES.get(path, path), text


def _flatten(value: object, where: str = "") -> Iterator[tuple[str, str]]:
    """Yield the path and the text of every scalar and every list of scalars.

    A value of None is skipped.
    """
    if isinstance(value, Mapping):
        for name, item in value.items():
            yield from _flatten(item, f"{where}.{name}" if where else str(name))
    elif isinstance(value, list | tuple):
        if any(isinstance(item, Mapping | list | tuple) for item in value):
            for number, item in enumerate(value):
                yield from _flatten(item, f"{where}[{number}]")
        else:
            yield where, ", ".join(map(str, value))
    elif value is not None:
        yield where, str(value).lower() if isinstance(value, bool) else str(value)

"""Existing endpoint, with its config and model as requests that create them.

An update changes the members of these requests that its flags name. All others stay,
including settings of other programs that this package does not know.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from deploy.errors import ConflictError
from deploy.resources.endpoint import load_seconds
from deploy.resources.names import digest, tag_list
from deploy.resources.settings import main_variant_index, settings_of

__all__ = [
    "FIXED_VARIABLES",
    "Edits",
    "Machines",
    "Running",
    "RunningConfig",
    "RunningModel",
]

STARTUP, LOAD = "STARTUP_TIMEOUT_SECONDS", "CHANDRA_LOAD_SECONDS"
FIXED_VARIABLES = ("MODEL_ID", "MODEL_REVISION", "SERVE_USE", STARTUP, LOAD)
"""Variables that every container gets. An update can set them, but not remove them."""


@dataclass(frozen=True, slots=True)
class Machines:
    """Instance types, in the order in which they are tried, and number of instances."""

    instance_types: tuple[str, ...]
    instance_count: int


@dataclass(frozen=True, slots=True)
class RunningModel:
    """Existing model, with the request that creates it under any name."""

    name: str
    contents: Mapping[str, Any]
    """CreateModel request without name and tags."""
    tags: Mapping[str, str] = field(default_factory=dict)

    @property
    def image(self) -> str:
        return str(self.container.get("Image", ""))

    @property
    def environment(self) -> Mapping[str, str]:
        return dict(self.container.get("Environment") or {})

    @property
    def container(self) -> Mapping[str, Any]:
        return dict(self.contents.get("PrimaryContainer") or {})

    @property
    def request(self) -> dict[str, Any]:
        return _request("ModelName", self.name, self.contents, self.tags)


@dataclass(frozen=True, slots=True)
class RunningConfig:
    """Existing endpoint config, with the request that creates it under any name."""

    name: str
    contents: Mapping[str, Any]
    """CreateEndpointConfig request without name and tags."""
    tags: Mapping[str, str] = field(default_factory=dict)

    @property
    def request(self) -> dict[str, Any]:
        return _request("EndpointConfigName", self.name, self.contents, self.tags)


@dataclass(frozen=True, slots=True)
class Edits:
    """Changes of an update; a field that is None or empty changes nothing."""

    instance_types: tuple[str, ...] | None = None
    instance_count: int | None = None
    image: str | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    removed_variables: tuple[str, ...] = ()
    startup_timeout_seconds: int | None = None
    download_timeout_seconds: int | None = None
    provision_timeout_seconds: int = 1200
    """Limit per instance type, used if the endpoint had only one type so far."""


@dataclass(frozen=True, slots=True)
class Running:
    """Existing endpoint with its config and model, which a planner can deploy again."""

    name: str
    config: RunningConfig
    model: RunningModel
    tags: Mapping[str, str] = field(default_factory=dict)
    instance_count: int | None = None
    """Number of instances that it has if its config has another number, else None."""

    @property
    def variant(self) -> Machines:
        """Instance types and current number of instances of the main variant."""
        variant = self._variant
        pools = variant.get("InstancePools") or ()
        kinds = [p["InstanceType"] for p in sorted(pools, key=lambda p: p["Priority"])]
        if "InstanceType" in variant:
            kinds = [variant["InstanceType"]]
        count = self.instance_count
        if count is None:
            count = variant.get("InitialInstanceCount", 1)
        return Machines(tuple(kinds), int(count))

    @property
    def settings(self) -> dict[str, str]:
        """Settings by name, with the current number of machines."""
        settings = settings_of(self.config.contents, self.model.contents)
        if self.instance_count is not None:
            settings["instance_count"] = str(self.instance_count)
        return settings

    def edited(self, edits: Edits) -> Running:
        """Return a copy of the endpoint with the edits.

        Config and model get new names if their contents change. A new config gets the
        current number of instances, unless the edits set one. Raises ConflictError if
        the edits change the model, and it has several containers.
        """
        model = self._edited_model(edits)
        variant = _edited_variant(self._variant, edits)
        if variant != self._variant or model.name != self.model.name:
            # The current number may be 0; then the config keeps its own.
            if self.instance_count and edits.instance_count is None:
                variant["InitialInstanceCount"] = self.instance_count
            variant["ModelName"] = model.name
        if variant == self._variant:
            is_named = edits.instance_count is not None
            return replace(self, instance_count=None) if is_named else self
        variants = list(self.config.contents["ProductionVariants"])
        variants[main_variant_index(self.config.contents)] = variant
        contents = {**self.config.contents, "ProductionVariants": variants}
        config = replace(
            self.config, name=f"{self.name}-{digest(contents)}", contents=contents
        )
        return replace(self, config=config, model=model, instance_count=None)

    def _edited_model(self, edits: Edits) -> RunningModel:
        """Return the model with the edits; the same object if nothing changes."""
        environment = {**self.model.environment, **edits.environment}
        for name in edits.removed_variables:
            environment.pop(name, None)
        if edits.startup_timeout_seconds is not None:
            old = self._variant.get("ContainerStartupHealthCheckTimeoutInSeconds")
            environment |= _derived_timeouts(environment, old, edits)
        container = dict(self.model.container)
        if environment != self.model.environment:
            container["Environment"] = environment
        if edits.image is not None:
            container["Image"] = edits.image
        if container == self.model.container:
            return self.model
        if "PrimaryContainer" not in self.model.contents:
            raise ConflictError(
                f"model {self.model.name} of endpoint {self.name} has several "
                "containers: update cannot tell which one to change",
                hint="chandra-sagemaker deploy makes the endpoint as chandra.toml "
                "describes it",
            )
        contents = {**self.model.contents, "PrimaryContainer": container}
        return replace(
            self.model, name=f"{self.name}-{digest(contents)}", contents=contents
        )

    @property
    def _variant(self) -> dict[str, Any]:
        number = main_variant_index(self.config.contents)
        return dict(self.config.contents["ProductionVariants"][number])


def _edited_variant(old: Mapping[str, Any], edits: Edits) -> dict[str, Any]:
    """Return a copy of a production variant with the edits."""
    variant = dict(old)
    kinds = edits.instance_types
    if kinds is not None and len(kinds) == 1:
        variant.pop("InstancePools", None)
        variant.pop("VariantInstanceProvisionTimeoutInSeconds", None)
        variant["InstanceType"] = kinds[0]
    elif kinds is not None:
        variant.pop("InstanceType", None)
        variant["InstancePools"] = [
            {"InstanceType": name, "Priority": number}
            for number, name in enumerate(kinds, start=1)
        ]
        variant.setdefault(
            "VariantInstanceProvisionTimeoutInSeconds", edits.provision_timeout_seconds
        )
    for name, value in (
        ("InitialInstanceCount", edits.instance_count),
        ("ContainerStartupHealthCheckTimeoutInSeconds", edits.startup_timeout_seconds),
        ("ModelDataDownloadTimeoutInSeconds", edits.download_timeout_seconds),
    ):
        if value is not None:
            variant[name] = value
    return variant


def _derived_timeouts(
    environment: Mapping[str, str], old: int | None, edits: Edits
) -> dict[str, str]:
    """Return the variables of timeouts that follow the new startup timeout.

    A variable follows it if its value derives from `old`, the startup timeout before
    the edits, and the edits do not set it.
    """
    startup = edits.startup_timeout_seconds
    assert startup is not None
    times = {}
    for name, value_of in ((STARTUP, int), (LOAD, load_seconds)):
        follows = old is not None and environment.get(name) == str(value_of(old))
        if follows and name not in edits.environment:
            times[name] = str(value_of(startup))
    return times


def _request(
    noun: str, name: str, contents: Mapping[str, Any], tags: Mapping[str, str]
) -> dict[str, Any]:
    return {noun: name, **contents, "Tags": tag_list(tags)}

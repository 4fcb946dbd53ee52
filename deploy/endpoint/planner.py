"""Planner of an endpoint: compares its target with the state of an account.

It reads the state through an Observer, changes nothing, and returns lists of actions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from deploy.config import UpdateStrategy, UpdateTable
from deploy.endpoint.observer import Observer
from deploy.endpoint.schedule import with_config
from deploy.errors import AccessDeniedError, ConflictError, NotFoundError
from deploy.plan.actions import Action, Call, Goal, Wait
from deploy.plan.calls import (
    create_endpoint,
    create_resource,
    delete_endpoint,
    note_live,
    note_stopped,
    resize_endpoint,
    update_endpoint,
)
from deploy.queue.scaling import Scaling, is_within
from deploy.resources import (
    DESCRIBED_TAG,
    LIVE_TAG,
    DatedConfig,
    EndpointState,
    Identity,
    Target,
    describe_count_drift,
    stopped_config,
)

__all__ = [
    "Planner",
    "config_to_change",
    "described_config",
    "differences",
    "previous_config",
]

# Documentation of AWS on failed rolling updates.
ROLLING = (
    "https://docs.aws.amazon.com/sagemaker/latest/dg/deployment-guardrails-rolling.html"
)


@dataclass(frozen=True, slots=True)
class Planner:
    """Planner for one account; its methods return actions and execute none."""

    observer: Observer
    identity: Identity
    now: datetime

    def deploy(
        self, target: Target, update: UpdateTable, *, is_described: bool = False
    ) -> list[Action]:
        """Return the actions that create `target`; an empty list if nothing differs.

        `is_described` adds a tag to the config: chandra.toml alone describes it. Raises
        ConflictError if the endpoint has another owner or serves a mix of configs.
        """
        actions: list[Action] = []
        if not self.observer.has_model(target.model.name):
            actions.append(
                create_resource("model", target.model.name, target.model.request)
            )
        config = target.config.name
        if not self.observer.has_config(config):
            actions.append(
                create_resource("endpoint_config", config, target.config.request)
            )
        return actions + self.serve(
            target.name,
            config,
            target.tags,
            update,
            instance_count=target.variant.instance_count,
            is_described=is_described,
        )

    def serve(
        self,
        name: str,
        config: str,
        tags: Mapping[str, str],
        update: UpdateTable,
        *,
        instance_count: int | None = None,
        is_described: bool = False,
    ) -> list[Action]:
        """Return the actions that give the endpoint a config.

        An earlier action may create the config. With `instance_count`, an endpoint
        that already has the config is set back to that many instances. Raises
        ConflictError like `deploy`.
        """
        state = self.observer.read_endpoint(name)
        self.require_ours(state)
        is_there = state is not None and state.config == config
        return [
            *self._plan_service(name, config, tags, state, update),
            *(_plan_resize(state, instance_count) if is_there else []),
            *self._plan_live_tag(name, config, is_described=is_described),
            *self._plan_schedule_update(name, config),
        ]

    @staticmethod
    def require_ours(state: EndpointState | None) -> None:
        """Raise ConflictError for an endpoint that this deployment did not create."""
        if state is not None and not state.is_ours:
            raise ConflictError(
                f"there is an endpoint {state.name} already, and it is not this "
                "deployment's",
                hint="set another name in chandra.toml",
            )

    def _plan_service(
        self,
        name: str,
        config: str,
        tags: Mapping[str, str],
        state: EndpointState | None,
        update: UpdateTable,
    ) -> list[Action]:
        """Return the actions that bring the endpoint into service with the config.

        Raises ConflictError if an update and its rollback failed, unless the update
        strategy is to recreate the endpoint.
        """
        arrived = Wait(name, Goal.IN_SERVICE, config)
        created: list[Action] = [create_endpoint(name, config, tags), arrived]
        if state is None:
            return created
        if state.status == "Deleting":
            return [Wait(name, Goal.DELETED), *created]
        if state.status in ("Failed", "OutOfService"):
            return [*_plan_deletion(name), *created]
        if state.status == "UpdateRollbackFailed":
            if update.strategy is UpdateStrategy.RECREATE:
                return [*_plan_deletion(name), *created]
            raise ConflictError(
                f"endpoint {name} serves a mix of two configs: an update failed, and "
                "its rollback failed too",
                hint=f"chandra-sagemaker status shows the reason; {ROLLING} says how "
                "it is repaired while it serves",
            )
        if state.is_changing and _destination(state) == config:
            return [arrived]
        if state.config == config and not state.is_changing:
            return []
        # SageMaker rejects updates and deletions of an endpoint that is changing.
        settled: list[Action] = [Wait(name, Goal.SETTLED)] if state.is_changing else []
        if update.strategy is UpdateStrategy.RECREATE:
            # `start` and a failed recreate bring back the config that was live last.
            noted = (
                [] if settled else self._plan_live_tag_if_present(name, state.config)
            )
            return [*settled, *noted, *_plan_deletion(name), *created]
        alarms = self.observer.rollback_alarms(name) if update.use_alarms else ()
        return [*settled, update_endpoint(state, config, update, alarms), arrived]

    def scale(self, scaling: Scaling) -> list[Action]:
        """Return the calls that set scaling limits and policies that differ."""
        observed = self.observer.read_scaling(scaling.endpoint)
        is_set = is_within(scaling.target.params, observed.target)
        return [
            *([] if is_set else [scaling.target]),
            *(
                call
                for name, call in scaling.policies.items()
                if not is_within(call.params, observed.policies.get(name))
            ),
        ]

    def set_scaling_alarms(self, scaling: Scaling) -> list[Action]:
        """Return the calls that set the alarms that trigger the scaling policies.

        AWS assigns the ARNs of policies, so this is planned after `scale` was executed.
        In a dry run, the name of a policy stands for its ARN.
        """
        observed = self.observer.read_scaling(scaling.endpoint)
        arns = {
            name: str(observed.policies.get(name, {}).get("PolicyARN", name))
            for name in scaling.policies
        }
        return [
            call
            for name, call in scaling.alarms(arns).items()
            if not is_within(
                {key: v for key, v in call.params.items() if key != "Tags"},
                observed.alarms.get(name),
            )
        ]

    def stop(self, name: str) -> list[Action]:
        """Return the actions that delete the endpoint; config and model stay.

        The list is empty without an endpoint. Raises ConflictError if the endpoint has
        another owner.
        """
        state = self.observer.read_endpoint(name)
        if state is None:
            return []
        if not state.is_ours:
            raise ConflictError(
                f"endpoint {name} is not this deployment's",
                hint="chandra-sagemaker list shows our endpoints; set name in "
                "chandra.toml to one of them",
            )
        if state.status == "Deleting":
            return [*self.mark_stopped(name, state.config), Wait(name, Goal.DELETED)]
        if state.is_changing:
            settled = Wait(name, Goal.SETTLED)
            return [
                settled,
                *self.mark_stopped(name, state.config),
                *_plan_deletion(name),
            ]
        if state.status == "InService":
            return [
                *self._plan_live_tag_if_present(name, state.config),
                *self.mark_stopped(name, state.config),
                *_plan_deletion(name),
            ]
        return [*self.mark_stopped(name, state.config), *_plan_deletion(name)]

    def mark_stopped(self, name: str, config: str | None = None) -> list[Call]:
        """Return the call that tags the endpoint's last config as stopped on purpose.

        Without `config`, or if another program made it, the tag goes to the config
        that was in service last. The list is empty if the deployment has no config.
        """
        configs = [live.config for live in self.observer.history(name)]
        if not configs:
            return []
        if config is None or config not in configs:
            config = configs[0]
        arn = self.identity.sagemaker_arn("endpoint-config", config)
        return [note_stopped(config, arn, self.now)]

    def _plan_live_tag(
        self, name: str, config: str, *, is_described: bool = False
    ) -> list[Call]:
        """Return the call that tags the config as live, or as described, if needed.

        A config that is already the last live one is not tagged as live again, unless
        it was stopped since.
        """
        history = self.observer.history(name)
        last = next(iter(history), None)
        tags = []
        if (
            last is None
            or last.since is None
            or last.config != config
            or stopped_config(history) is not None
        ):
            tags.append(LIVE_TAG)
        if is_described and described_config(history) != config:
            tags.append(DESCRIBED_TAG)
        arn = self.identity.sagemaker_arn("endpoint-config", config)
        return [note_live(config, arn, self.now, tags)] if tags else []

    def _plan_live_tag_if_present(self, name: str, config: str) -> list[Action]:
        """Return the call that tags a config as live before its endpoint is deleted.

        A deployment without waiting has not tagged it. If the config is missing, the
        plan continues.
        """
        return [
            replace(action, may_be_missing=True, retry_if_missing=False)
            for action in self._plan_live_tag(name, config)
        ]

    def _plan_schedule_update(self, name: str, config: str) -> list[Action]:
        """Return the actions that make the endpoint's schedule start this config.

        If the caller may not read schedules, the schedule stays unchanged.
        """
        try:
            entry = self.observer.read_scheduled_start(name)
        except AccessDeniedError:
            return []
        if entry is None:
            return []
        request = with_config(entry, config)
        if request == entry:
            return []
        return [
            Call(
                "scheduler",
                "update_schedule",
                request,
                f"let the schedule start config {config}",
            )
        ]


def previous_config(history: Sequence[DatedConfig], current: str | None) -> str:
    """Return the config that was live before the current one.

    Raises NotFoundError if there is none.
    """
    for live in history:
        if live.since is not None and live.config != current:
            return live.config
    raise NotFoundError(
        "no earlier config of this deployment was ever live: there is nothing to go "
        "back to",
        hint="chandra-sagemaker list",
    )


def described_config(history: Sequence[DatedConfig]) -> str | None:
    """Return the config that `deploy` last made from chandra.toml alone, or None."""
    noted = [(live.described, live.config) for live in history if live.described]
    return max(noted)[1] if noted else None


def config_to_change(
    state: EndpointState | None, history: Sequence[DatedConfig]
) -> str:
    """Return the config that an update edits: the running or pending one.

    Without an endpoint it is the first of `history`, which must not be empty then.
    """
    if state is not None:
        return _destination(state)
    return history[0].config


def differences(target: Target, state: EndpointState) -> list[str]:
    """Return a sentence for each difference of an endpoint from its target.

    Config, number of instances and image are compared.
    """
    sentences = []
    if state.config != target.config.name:
        sentences.append(f"it serves config {state.config}, not {target.config.name}")
    count = target.variant.instance_count
    if not state.is_scaled and state.instance_count not in (None, count):
        sentences.append(f"it has {state.instance_count} instances, not {count}")
    digest = target.model.image.rpartition("@")[2]
    if state.image is not None and not state.image.endswith(digest):
        sentences.append(f"it runs {state.image}, not {target.model.image}")
    return sentences


def _destination(state: EndpointState) -> str:
    """Return the config that an endpoint has, or will have after its change."""
    if state.status == "RollingBack":
        return state.config
    return state.pending_config or state.config


def _plan_resize(state: EndpointState | None, count: int | None) -> list[Action]:
    """Return the actions that reset a changed number of instances to `count`.

    The list is empty if the number has not changed, or auto scaling sets it.
    """
    if state is None or count is None or state.is_scaled:
        return []
    if state.status != "InService":
        return []
    if describe_count_drift(state, count) is None:
        return []
    arrived = Wait(state.name, Goal.IN_SERVICE, state.config, instance_count=count)
    return [resize_endpoint(state, count), arrived]


def _plan_deletion(name: str) -> list[Action]:
    return [delete_endpoint(name), Wait(name, Goal.DELETED)]

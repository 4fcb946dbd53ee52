"""Snapshot of an account during a command: each value is read once."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

from deploy.endpoint.account import Account
from deploy.endpoint.schedule import start_request
from deploy.errors import AccessDeniedError, DeployError, NotFoundError
from deploy.queue.scaling import ObservedScaling
from deploy.resources import DatedConfig, EndpointState

__all__ = ["AccountReader", "Snapshot"]


class Snapshot:
    """Observer with cached values of an account.

    Values that it has not read yet are read on first access. `has_model` and
    `has_config` always ask the account. If the caller may not read a value, or it no
    longer exists, its error is raised when it is accessed.
    """

    def __init__(
        self,
        account: Account,
        name: str,
        *,
        other: str | None = None,
        config: str | None = None,
        use_alarms: bool = False,
    ) -> None:
        """Read in advance the state, history and schedule of endpoint `name`.

        Other values are read on first access. A denied access or a missing resource
        raises its error only when the value is accessed.

        Args:
            other: the deployment's other endpoint, which shares its quotas.
            config: name of the endpoint config to deploy. If an endpoint has another
                one, that config is read too.
            use_alarms: read the alarms that roll an update back.
        """
        self._account = account
        self._answers: dict[tuple[str, str], Any] = {}
        questions = deque([("read_endpoint", name), ("history", name)])
        questions.append(("schedule_entries", name))
        if other is not None:
            questions.append(("read_endpoint", other))
        # A loop here, rather than a method for each value, keeps the call stack short.
        while questions:
            question = questions.popleft()
            try:
                answer = getattr(account, question[0])(question[1])
            except (AccessDeniedError, NotFoundError) as error:
                answer = error
            self._answers[question] = answer
            if isinstance(answer, EndpointState) and answer.config not in ("", config):
                questions.append(("describe_config", answer.config))
                if use_alarms and answer.name == name:
                    questions.append(("rollback_alarms", name))

    def read_endpoint(self, name: str) -> EndpointState | None:
        state: EndpointState | None = self._answer("read_endpoint", name)
        return state

    def has_model(self, name: str) -> bool:
        return self._account.has_model(name)

    def has_config(self, name: str) -> bool:
        return self._account.has_config(name)

    def describe_config(self, name: str) -> Mapping[str, Any]:
        description: Mapping[str, Any] = self._answer("describe_config", name)
        return description

    def history(self, deployment: str) -> Sequence[DatedConfig]:
        history: Sequence[DatedConfig] = self._answer("history", deployment)
        return history

    def rollback_alarms(self, deployment: str) -> Sequence[str]:
        alarms: Sequence[str] = self._answer("rollback_alarms", deployment)
        return alarms

    def schedule_entries(self, deployment: str) -> Sequence[Mapping[str, Any]]:
        entries: Sequence[Mapping[str, Any]] = self._answer(
            "schedule_entries", deployment
        )
        return entries

    def read_scheduled_start(self, deployment: str) -> dict[str, Any] | None:
        return start_request(self.schedule_entries(deployment), deployment)

    def read_scaling(self, endpoint: str) -> ObservedScaling:
        scaling: ObservedScaling = self._answer("read_scaling", endpoint)
        return scaling

    def _answer(self, question: str, name: str) -> Any:
        """Return what the method `question` of the account returns for `name`.

        It is called if it has not been called yet. Raises the error that it raised.
        """
        key = question, name
        if key not in self._answers:
            self._answers[key] = getattr(self._account, question)(name)
        answer = self._answers[key]
        if isinstance(answer, DeployError):
            raise answer
        return answer


AccountReader = Account | Snapshot
"""Source of an endpoint's state: the account, or a snapshot of it."""

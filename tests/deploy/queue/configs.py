"""Configurations of a queue, and its scaling as AWS reports it."""

from __future__ import annotations

from deploy.endpoint.planner import Planner
from deploy.queue.endpoint import (
    async_config,
)
from deploy.queue.scaling import ObservedScaling, Scaling
from deploy.resources import tags_of
from tests.deploy.accounts import (
    IDENTITY,
    NOW,
    FakeAccount,
    configured,
)

TOPIC = "arn:aws:sns:us-east-1:123456789012:ocr"
QUEUE_CONFIG = '[asynchronous]\nbucket = "exchange"\n'


def configure_queue(**settings):
    return configured(asynchronous={"bucket": "exchange", **settings})


def build_scaling(**settings):
    config = async_config(configure_queue(**settings), IDENTITY)
    return Scaling.from_table(config.name, config.asynchronous, tags_of(config))


def build_planner(observed=None):
    return Planner(FakeAccount(observed=observed or ObservedScaling()), IDENTITY, NOW)


def report_as_aws(expected):
    """Return the scaling as AWS reports it after all its calls were made."""
    arns = {name: f"arn:of:{name}" for name in expected.policies}
    return ObservedScaling(
        target={**expected.target.params, "CreationTime": NOW},
        policies={
            name: {**call.params, "PolicyARN": arns[name]}
            for name, call in expected.policies.items()
        },
        alarms={
            name: {**call.params, "StateValue": "OK"}
            for name, call in expected.alarms(arns).items()
        },
    )

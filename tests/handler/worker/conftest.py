"""Fixtures of a pump whose reads end on request of the test."""

from __future__ import annotations

import pytest

from handler.worker.pump import Pump
from tests.handler.worker.reads import Reads


@pytest.fixture
def reads():
    return Reads()


@pytest.fixture
def reports():
    return []


@pytest.fixture
def make_pump(reads, reports):
    pumps = []

    def make(**settings) -> Pump:
        values = {
            "read": reads,
            "max_open_requests": 4,
            "max_reply_bytes": 1000,
            "wait_seconds": 0.01,
        } | settings
        pump = Pump(report=lambda *both: reports.append(both), **values)
        pumps.append(pump)
        return pump

    yield make
    for pump in pumps:
        pump.close()


@pytest.fixture
def pump(make_pump):
    return make_pump()

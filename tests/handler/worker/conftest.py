"""Fixtures of pumps whose documents are read by a `ManualReader`."""

from __future__ import annotations

import pytest

from handler.worker.pump import Pump
from tests.handler.worker.manual_reader import ManualReader


@pytest.fixture
def reader():
    return ManualReader()


@pytest.fixture
def reports():
    """Requests and replies that the pumps have reported, in order."""
    return []


@pytest.fixture
def make_pump(reader, reports):
    """Function that makes a pump, which is closed after the test."""
    pumps = []

    def make(**settings) -> Pump:
        values = {
            "read": reader,
            "max_open_requests": 4,
            "max_reply_bytes": 1000,
            "wait_seconds": 0.01,
        } | settings
        pump = Pump(report=lambda *report: reports.append(report), **values)
        pumps.append(pump)
        return pump

    yield make
    for pump in pumps:
        pump.close()


@pytest.fixture
def pump(make_pump):
    return make_pump()

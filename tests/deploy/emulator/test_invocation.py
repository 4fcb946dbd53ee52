"""Tests of invocations of a container, and of their failures."""

from __future__ import annotations

import threading

import pytest

from deploy.emulator.http.invocation import (
    ConnectFailedError,
    ConnectionBrokenError,
    Invocation,
    NoResponseError,
    ResponseTimeoutError,
    send_get_request,
)
from deploy.emulator.process import find_free_port
from tests.deploy.emulator.containers import Reply
from tests.waiting import until


def invoke(address, body=b"page", seconds=20.0):
    with Invocation(address, seconds) as invocation:
        invocation.post({}, body, length=len(body))
        return invocation.status, invocation.read()


def test_response_has_status_and_body(container):
    container.reply = lambda received: Reply(received.body, 422)

    assert invoke(container.address) == (422, b"page")


def test_unreachable_container_is_a_failed_connection():
    with pytest.raises(ConnectFailedError):
        invoke(f"http://127.0.0.1:{find_free_port()}")


def test_closed_connection_is_broken(container):
    container.reply = lambda received: Reply(is_broken=True)

    with pytest.raises(ConnectionBrokenError) as caught:
        invoke(container.address)

    assert not isinstance(caught.value, ConnectFailedError)


def test_incomplete_response_is_broken(container):
    container.reply = lambda received: Reply(iter([b"half"]), is_broken=True)

    with pytest.raises(ConnectionBrokenError):
        invoke(container.address)


def test_slow_response_times_out_despite_progress(container):
    is_over = threading.Event()

    def send_dots():
        while not is_over.wait(0.05):
            yield b"."

    container.reply = lambda received: Reply(send_dots())

    with pytest.raises(ResponseTimeoutError):
        invoke(container.address, seconds=0.4)
    is_over.set()


def test_invocation_can_be_aborted_by_another_thread(container):
    is_over = threading.Event()
    container.reply = lambda received: Reply(b"late" if is_over.wait(20) else b"never")
    failures = []

    with Invocation(container.address, 60) as invocation:

        def post():
            try:
                invocation.post({}, b"page", length=4)
            except NoResponseError as error:
                failures.append(error)

        thread = threading.Thread(target=post)
        thread.start()
        until(lambda: container.received)
        invocation.abort()
        thread.join(10)

    is_over.set()
    assert isinstance(failures[0], ConnectionBrokenError)


def test_get_returns_none_without_a_server(container):
    assert send_get_request(container.address, "/ping", 2) == (200, b"")
    assert send_get_request(f"http://127.0.0.1:{find_free_port()}", "/ping", 2) is None

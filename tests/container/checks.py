"""Checks of a container, as functions, so that tests can show that each can fail."""

from __future__ import annotations

from tests import documents
from tests.container.containers import DockerContainer
from tests.waiting import until

__all__ = ["PAGE", "check_files", "check_log", "check_readiness", "check_stop"]

PAGE = documents.as_png(documents.text_page(["A page", "of a few words"]))
PNG = "image/png"


def check_readiness(container: DockerContainer) -> None:
    """Check that /ping is 200 once the model is loaded, and not before."""
    seen = set()

    def is_over() -> bool:
        status = container.ping()
        seen.add(status)
        # Look after the ping: the model must have been ready before its answer.
        if status == 200:
            assert container.events("ready"), "/ping is 200 and no model is loaded"
        return status == 200 or not container.is_running

    until(is_over, 300)
    assert container.is_running, container.log[-3:]
    assert 503 in seen, "/ping was never 503 while the model was loaded"


def check_stop(container: DockerContainer, seconds: int = 30) -> None:
    """Check that SIGTERM answers the open request, and the exit status is 0."""
    answer = container.post(PAGE, PNG)
    until(lambda: container.read_state().get("open") == "1", 60)

    took = container.stop(seconds)

    assert container.exit_status == 0, f"status {container.exit_status} after {took} s"
    assert answer.result().json()["status"] == "success"
    assert took < 30


def check_log(container: DockerContainer) -> None:
    """Check that every log line is a JSON event, and none has a word of a document."""
    events = container.events()

    assert all(event["event"] and event["time"] for event in events)
    assert "of a few words" not in "\n".join(container.log)


def check_files(container: DockerContainer) -> None:
    """Check that no file outside /tmp is new or changed."""
    changed = [
        name
        for name in container.list_changed_files()
        if name != "/tmp" and not name.startswith("/tmp/")
    ]
    assert not changed, f"written: {changed}"

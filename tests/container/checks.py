"""What every container must do, as functions: so that each can be shown to fail."""

from __future__ import annotations

from tests import documents
from tests.container.containers import Container
from tests.waiting import until

__all__ = ["PAGE", "becomes_ready", "logs_json", "stops_well", "writes_nothing"]

PAGE = documents.as_png(documents.text_page(["A page", "of a few words"]))
PNG = "image/png"


def becomes_ready(container: Container) -> None:
    """/ping is 200 once the model is there, and not before."""
    seen = set()

    def is_over() -> bool:
        status = container.ping()
        seen.add(status)
        # After the ping: what it says must be so already.
        if status == 200:
            assert container.events("ready"), "/ping is 200 and no model is loaded"
        return status == 200 or not container.is_running

    until(is_over, 300)
    assert container.is_running, container.log[-3:]
    assert 503 in seen, "/ping was never 503 while the model was loaded"


def stops_well(container: Container, seconds: int = 30) -> None:
    """SIGTERM with a page in flight: it is answered, and the status is 0."""
    answer = container.post(PAGE, PNG)
    until(lambda: container.read_state().get("open") == "1", 60)

    took = container.stop(seconds)

    assert container.exit_status == 0, f"status {container.exit_status} after {took} s"
    assert answer.result().json()["status"] == "success"
    assert took < 30


def logs_json(container: Container) -> None:
    """Every line of the log is an object with an event, and none has a word of ours."""
    events = container.events()

    assert all(event["event"] and event["time"] for event in events)
    assert "of a few words" not in "\n".join(container.log)


def writes_nothing(container: Container) -> None:
    """No file outside /tmp is new or changed."""
    changed = [
        name
        for name in container.changed_files()
        if name != "/tmp" and not name.startswith("/tmp/")
    ]
    assert not changed, f"written: {changed}"

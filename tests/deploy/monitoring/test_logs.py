"""Command `logs`: order, filters and `--follow`."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from deploy.errors import TransientError

pytestmark = pytest.mark.usefixtures("staged")


GROUP = "/aws/sagemaker/Endpoints/ocr"


def write_logs(wire, at, **streams):
    wire.call("logs", "create_log_group", logGroupName=GROUP)
    for stream, lines in streams.items():
        wire.call(
            "logs",
            "create_log_stream",
            logGroupName=GROUP,
            logStreamName=f"AllTraffic/{stream}",
        )
        wire.call(
            "logs",
            "put_log_events",
            logGroupName=GROUP,
            logStreamName=f"AllTraffic/{stream}",
            logEvents=[
                {"timestamp": int((at.now - before) * 1000), "message": text}
                for before, text in lines
            ],
        )


def test_logs_of_all_streams_are_sorted(chandra, wire, at):
    write_logs(wire, at, one=[(30, "first"), (10, "third")], two=[(20, "second")])

    lines = chandra("logs").out.splitlines()

    assert [line.split()[-2:] for line in lines] == [
        ["one", "first"],
        ["two", "second"],
        ["one", "third"],
    ]


def test_lines_begin_with_date_and_time_in_utc(chandra, wire, at):
    write_logs(wire, at, first=[(7200, "ready")])
    when = datetime.fromtimestamp(at.now - 7200, UTC)

    ran = chandra("logs", "--since", "3h")

    assert ran.out.startswith(f"{when:%Y-%m-%dT%H:%M:%SZ} first ready")


def test_control_characters_of_log_lines_are_escaped(chandra, wire, at):
    write_logs(wire, at, one=[(7, "\x1b]0;title\x07 \x1b[2J\rgone \u202eabc\tend")])

    ran = chandra("logs")

    assert ran.out.endswith(r"\x1b]0;title\x07 \x1b[2J\rgone \u202eabc" + "\tend\n")


def test_logs_can_be_filtered(chandra, wire, at):
    write_logs(
        wire,
        at,
        one=[(7200, "old Error"), (30, "an ERROR"), (20, "page read"), (10, "fine")],
    )

    errors = chandra("logs", "--errors").out.splitlines()
    matches = chandra("logs", "--search", "PAGE").out.splitlines()
    older = chandra("logs", "--errors", "--since", "3h").out.splitlines()

    assert [line.split()[-1] for line in errors] == ["ERROR"]
    assert [line.split()[-1] for line in matches] == ["read"]
    assert len(older) == 2


def test_followed_logs_show_each_line_once(chandra, wire, at):
    write_logs(wire, at, one=[(30, "first")])
    rounds = []

    def sleep(seconds):
        rounds.append(seconds)
        if len(rounds) == 3:
            raise KeyboardInterrupt
        wire.call(
            "logs",
            "put_log_events",
            logGroupName=GROUP,
            logStreamName="AllTraffic/one",
            logEvents=[
                {"timestamp": int(at.now * 1000), "message": f"round {len(rounds)}"}
            ],
        )

    ran = chandra("logs", "-f", sleep=sleep)

    assert ran.status == 130
    assert [line.split(maxsplit=2)[2] for line in ran.out.splitlines()] == [
        "first",
        "round 1",
        "round 2",
    ]


def test_followed_logs_are_one_json_object(chandra, wire, at):
    write_logs(wire, at, one=[(30, "first")])

    def interrupt(seconds):
        raise KeyboardInterrupt

    ran = chandra("logs", "-f", "--json", sleep=interrupt)

    assert ran.status == 130
    assert [line["message"] for line in ran.json["lines"]] == ["first"]
    assert datetime.fromisoformat(ran.json["lines"][0]["time"]).tzinfo is not None


def raise_error_once(error):
    errors = [error]

    def raise_error(_):
        if errors:
            raise errors.pop()

    return raise_error


def test_followed_logs_continue_after_a_transient_error(chandra, wire, at, intercept):
    write_logs(wire, at, one=[(30, "first")])
    error = TransientError("AWS cannot be reached")
    intercept("logs", "FilterLogEvents", raise_error_once(error))
    pauses = []

    def sleep(seconds):
        pauses.append(seconds)
        if len(pauses) == 2:
            raise KeyboardInterrupt

    ran = chandra("logs", "-f", sleep=sleep)

    assert ran.status == 130
    assert [line.split()[-1] for line in ran.out.splitlines()] == ["first"]
    assert ran.err.splitlines() == ["AWS cannot be reached; retrying"]


def test_transient_error_ends_logs_without_follow(chandra, wire, at, intercept):
    write_logs(wire, at, one=[(30, "first")])
    error = TransientError("AWS cannot be reached")
    intercept("logs", "FilterLogEvents", raise_error_once(error))

    ran = chandra("logs")

    assert ran.status == 1
    assert "AWS cannot be reached" in ran.err


def test_endpoint_that_never_ran_has_no_log(chandra):
    ran = chandra("logs")

    assert ran.status == 0
    assert "no lines" in ran.out


@pytest.mark.parametrize("text", ["0s", "99999999999d", "2 weeks"])
def test_invalid_age_is_rejected(chandra, cloud, text):
    ran = chandra("logs", "--since", text)

    assert ran.status == 2
    assert "an age" in ran.err

"""Metrics, logs and confinement of a running server."""

from __future__ import annotations

import re
from pathlib import Path

import httpx
import psutil

from tests import documents
from tests.marks import needs_seccomp
from tests.server.processes import list_family
from tests.waiting import until

PNG = "image/png"
PAGE = documents.as_png(documents.text_page(["Counted"]))


def read_metric(client, name: str, **labels: str) -> float:
    """Return the sum of a metric's samples with these labels."""
    text = httpx.get(f"{client.server.metrics_address}/metrics").text
    total = 0.0
    for line in text.splitlines():
        if match := re.fullmatch(rf"{name}\{{(.*)\}} (\S+)", line):
            has_labels = all(
                f'{key}="{value}"' in match[1] for key, value in labels.items()
            )
            total += float(match[2]) if has_labels else 0
    return total


def test_pages_tokens_and_times_are_counted(client):
    names = ("Pages", "OutputTokens", "PageSeconds_count", "QueueSeconds_count")
    before = {name: read_metric(client, name) for name in names}

    usage = client.post(PAGE, PNG).json()["usage"]

    until(lambda: read_metric(client, "Pages") == before["Pages"] + 1)
    until(
        lambda: (
            read_metric(client, "OutputTokens")
            == before["OutputTokens"] + usage["output_tokens"]
        )
    )
    until(
        lambda: all(read_metric(client, name) == before[name] + 1 for name in names[2:])
    )


def test_failures_are_counted_by_code(client):
    before = read_metric(client, "Failures", Code="unsupported_media_type")

    client.post(b"junk", PNG)

    until(
        lambda: (
            read_metric(client, "Failures", Code="unsupported_media_type") == before + 1
        )
    )


def test_every_request_leaves_one_line_in_the_log(client):
    answer = client.post(PAGE, PNG)
    refused = client.post(b"junk", PNG)

    def find_log_lines(request_id):
        lines = client.lines.find_events("request")
        return [line for line in lines if line["request_id"] == request_id]

    until(lambda: find_log_lines(refused.json()["request_id"]))
    [good] = find_log_lines(answer.json()["request_id"])
    [bad] = find_log_lines(refused.json()["request_id"])
    assert (good["status"], good["code"], good["pages"]) == (200, None, 1)
    assert good["output_tokens"] == answer.json()["usage"]["output_tokens"]
    assert good["received_bytes"] == len(PAGE)
    assert (bad["status"], bad["code"]) == (415, "unsupported_media_type")


def test_the_log_is_one_json_object_a_line_once_the_server_runs(client):
    client.post(PAGE, PNG)

    lines = list(client.lines)
    started = next(n for n, line in enumerate(lines) if '"ready"' in line)
    assert all(line.startswith("{") for line in lines[started:])


def test_log_reports_the_confinement_of_processes_once(client):
    until(lambda: len(client.lines.find_events("confined")) >= 2)

    lines = client.lines.find_events("confined")
    assert sorted(line["of"] for line in lines) == ["decoders", "writers"]
    assert all(line["no_new_privileges"] for line in lines)


@needs_seccomp
def test_decoders_and_writers_of_a_server_are_confined(client):
    client.post(PAGE, PNG)

    statuses = [
        Path(f"/proc/{process.pid}/status").read_text()
        for process in list_family(client.server.pid)
    ]
    confined = [text for text in statuses if re.search(r"^Seccomp:\s+2", text, re.M)]
    assert len(confined) >= 3  # two decoders and a writer


def test_nothing_listens_outside_loopback(client):
    listening = {
        connection.laddr.ip
        for process in list_family(client.server.pid)
        for connection in process.net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    }
    assert listening <= {"127.0.0.1", "::1", "::ffff:127.0.0.1"}

"""Tests of all kinds of invocation with the real server and the embedded model."""

from __future__ import annotations

import json
import os
import signal
from contextlib import closing
from functools import partial

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from deploy.emulator.account import EmulatedAccount
from deploy.emulator.containers import ManagedContainer
from tests import documents
from tests.deploy.emulator.conftest import (
    BUCKET,
    CLIENT_CREDENTIALS,
    REGION,
    RunningEmulator,
    build_real_server,
    run_emulator,
)
from tests.deploy.emulator.jobs import create_job, wait_for_job
from tests.marks import needs_the_plugin
from tests.server.processes import is_alive, list_family
from tests.waiting import until

PNG = documents.as_png(documents.text_page(["A page"]))
PDF = documents.pdf([["Page 1"], ["Page 2"]])
BROKEN = b"%PDF-1.7 and then nothing of the kind"
ATTRIBUTES = "max_output_tokens=20"
# A document takes seconds, but minutes on a single shared core.
TIMEOUT_SECONDS = 280

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(600),
    needs_the_plugin,
]


class SharedServer:
    """Emulator that starts a container, and a second one that uses this container."""

    def __init__(
        self,
        first: RunningEmulator,
        second: RunningEmulator,
        container: ManagedContainer,
    ) -> None:
        self.first = first
        self.second = second
        self.container = container


@pytest.fixture(scope="module")
def running():
    """Start one server for all tests, because a start takes longer than a document."""
    server = build_real_server(CHANDRA_DEADLINE_SECONDS="none")
    with closing(EmulatedAccount()) as moto, run_emulator(moto, server) as first:
        first.client("s3").create_bucket(Bucket=BUCKET)
        first.create_endpoint("ocr")
        [container] = first.instance.fleet.list_containers()
        assert isinstance(container, ManagedContainer)
        until(lambda: container.was_healthy, TIMEOUT_SECONDS)
        with run_emulator(moto, container.address) as second:
            yield SharedServer(first, second, container)


@pytest.fixture
def emulator(running):
    return running.second


def create_runtime_client(emulator):
    return boto3.client(
        "sagemaker-runtime",
        endpoint_url=emulator.address,
        region_name=REGION,
        config=Config(read_timeout=TIMEOUT_SECONDS, retries={"total_max_attempts": 1}),
        **CLIENT_CREDENTIALS,
    )


@pytest.mark.parametrize(
    ("body", "kind"), [(PNG, "image/png"), (PDF, "application/pdf")]
)
def test_document_is_read_in_real_time(emulator, body, kind):
    response = create_runtime_client(emulator).invoke_endpoint(
        EndpointName="ocr",
        ContentType=kind,
        CustomAttributes=f"label=scan 7;{ATTRIBUTES}",
        Body=body,
    )

    document = json.loads(response["Body"].read())
    assert document["status"] == "success"
    assert response["CustomAttributes"] == (
        f"label=scan 7;request_id={document['request_id']};status=success"
    )
    assert len(document["pages"]) == (1 if body == PNG else 2)
    assert response["ContentType"].startswith("application/json")


def test_broken_document_is_a_model_error_with_its_code(emulator):
    with pytest.raises(ClientError) as caught:
        create_runtime_client(emulator).invoke_endpoint(
            EndpointName="ocr", ContentType="application/pdf", Body=BROKEN
        )

    assert caught.value.response["OriginalStatusCode"] == 422
    problem = json.loads(caught.value.response["OriginalMessage"])
    assert problem["code"] == "unreadable_document"


def test_pages_are_streamed(emulator):
    response = create_runtime_client(emulator).invoke_endpoint_with_response_stream(
        EndpointName="ocr",
        ContentType="application/pdf",
        Accept="application/x-ndjson",
        CustomAttributes=f"label=scan 8;{ATTRIBUTES}",
        Body=PDF,
    )

    text = b"".join(event["PayloadPart"]["Bytes"] for event in response["Body"])
    lines = [json.loads(line) for line in text.splitlines()]
    assert [line["event"] for line in lines if line["event"] == "page"] == ["page"] * 2
    assert lines[-1]["event"] == "end"
    # The header is sent before the status of the document is known.
    assert response["CustomAttributes"] == (
        f"label=scan 8;request_id={lines[-1]['request_id']}"
    )


def test_documents_are_read_asynchronously(emulator):
    emulator.create_async_endpoint("later")

    def submit(name, body, kind):
        return create_runtime_client(emulator).invoke_endpoint_async(
            EndpointName="later",
            InputLocation=emulator.put_object(f"in/{name}", body),
            ContentType=kind,
            CustomAttributes=ATTRIBUTES,
        )

    good = [submit("a.png", PNG, "image/png"), submit("b.pdf", PDF, "application/pdf")]
    bad = submit("c.pdf", BROKEN, "application/pdf")

    for response, num_pages in zip(good, (1, 2), strict=True):
        document = json.loads(
            until(
                partial(emulator.get_object, response["OutputLocation"]),
                TIMEOUT_SECONDS,
            )
        )
        assert document["status"] == "success"
        assert len(document["pages"]) == num_pages
    problem = json.loads(
        until(lambda: emulator.get_object(bad["FailureLocation"]), TIMEOUT_SECONDS)
    )
    assert problem["code"] == "unreadable_document"
    assert emulator.get_object(bad["OutputLocation"]) is None


def test_documents_are_read_by_a_transform_job(emulator):
    for name, body in (("a.png", PNG), ("b.pdf", PDF), ("c.pdf", BROKEN)):
        emulator.put_object(f"in/{name}", body)

    # Without ContentType, the container detects the type from the content.
    create_job(
        emulator,
        "all",
        target={"S3OutputPath": f"s3://{BUCKET}/read"},
        MaxPayloadInMB=25,
        MaxConcurrentTransforms=4,
    )
    job = wait_for_job(emulator, "all", TIMEOUT_SECONDS)

    assert job["TransformJobStatus"] == "Failed"
    assert emulator.list_keys("read/") == ["read/a.png.out", "read/b.pdf.out"]
    document = json.loads(emulator.get_object(f"s3://{BUCKET}/read/b.pdf.out"))
    assert (document["status"], len(document["pages"])) == ("success", 2)
    assert any(
        f"{BUCKET}/in/c.pdf: ClientError: 422" in line for line in emulator.lines
    )


def test_container_provides_settings_that_a_job_omits(emulator):
    emulator.put_object("in/a.png", PNG)

    create_job(emulator, "open")
    wait_for_job(emulator, "open", TIMEOUT_SECONDS)

    lines = [line for line in emulator.lines if "TransformJobs/open |" in line]
    [line] = [line for line in lines if "MaxConcurrentTransforms" in line]
    assert line.endswith("MaxPayloadInMB=25, BatchStrategy=SINGLE_RECORD")


def test_killed_container_leaves_no_process(running):
    pids = [member.pid for member in list_family(running.container.pid)]
    assert len(pids) > 2

    os.kill(running.container.pid, signal.SIGKILL)

    until(lambda: not any(map(is_alive, pids)))
    until(lambda: any("it is replaced" in line for line in running.first.lines))

"""Staging of weights by whole commands."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import tarfile
from pathlib import Path
from types import SimpleNamespace

import pytest

from deploy.config import read_config
from deploy.errors import NotFoundError
from deploy.weights.files import MANIFEST
from deploy.weights.hub import HuggingFace
from tests.deploy.accounts import IMAGE
from tests.deploy.conftest import interrupt
from tests.deploy.images import publish
from tests.deploy.weights.fake_s3 import (
    BUCKET,
    CONFIG,
    OTHER_CONFIG,
    PREFIX,
    list_keys,
    read_object,
)
from tests.hub import COMMIT, FILES, HubHandler, run_hub

ROOT = Path(__file__).resolve().parents[3]


def test_complete_weights_are_not_replaced(bucket, chandra, wire, folder):
    """A running endpoint would start its next machine with the new weights."""
    chandra("model", "stage", "--from", str(folder), "--revision", "v1")
    (folder / "config.json").write_text(OTHER_CONFIG)

    again = ("model", "stage", "--from", str(folder), "--revision", "v1")
    refused = [chandra(*again), chandra(*again, "--dry-run")]
    other = chandra("model", "stage", "--from", str(folder), "--revision", "v2")

    assert [result.status for result in refused] == [5, 5]
    assert "holds other weights already" in refused[0].err
    assert "another --revision" in refused[0].err
    assert read_object(wire, PREFIX + "v1/config.json") == CONFIG.encode()
    assert other.status == 0, other.err


def test_leftover_file_is_a_conflict(bucket, chandra, wire, folder):
    chandra("model", "stage", "--from", str(folder), "--revision", "v1")
    wire.call("s3", "delete_object", Bucket=BUCKET, Key=PREFIX + "v1/" + MANIFEST)
    (folder / "sub" / "tokenizer.json").unlink()

    result = chandra("model", "stage", "--from", str(folder), "--revision", "v1")

    assert result.status == 5
    assert "holds sub/tokenizer.json, which are not part of these weights" in result.err


def test_folder_is_staged_and_revision_recorded(
    bucket, chandra, wire, folder, tmp_path
):
    result = chandra(
        "model", "stage", "--from", str(folder), "--revision", "v1", "--tar"
    )

    assert result.status == 0, result.err
    assert "holds 3 files, 0.0 MB, verified (3 uploaded now)" in result.out
    assert PREFIX + "v1/model.safetensors" in list_keys(wire)
    with tarfile.open(
        fileobj=io.BytesIO(read_object(wire, PREFIX + "v1.tar.gz"))
    ) as tar:
        assert "config.json" in tar.getnames()
    path = tmp_path / "chandra.toml"
    path.write_text(path.read_text().replace("revision =", "# revision ="))
    assert read_config(path).model.revision == "v1"


def test_hub_model_is_staged_at_commit(bucket, chandra, wire):
    result = chandra("model", "stage")

    assert result.status == 0, result.err
    assert PREFIX + "c0ffee/model.safetensors" in list_keys(wire)


def test_ctrl_c_keeps_uploaded_parts(bucket, chandra, cloud, intercept):
    intercept("s3", "PutObject", interrupt)

    result = chandra("model", "stage")

    assert result.status == 130
    assert "the same command resumes the upload" in result.err


def test_dry_run_stages_nothing(bucket, chandra, wire, folder):
    result = chandra("model", "stage", "--tar", "--from", str(folder), "--dry-run")

    assert "would put 3 files" in result.out
    assert f"would write s3://weights/{PREFIX}sha256-" in result.out
    assert list_keys(wire) == []


def test_dry_run_fetches_nothing(bucket, chandra, wire, hub):
    result = chandra("model", "stage", "--tar", "--dry-run")

    assert result.status == 0, result.err
    assert hub.fetched == list_keys(wire) == []
    assert result.out.splitlines() == [
        "would fetch 2 files, 0.0 MB, of datalab-to/chandra at c0ffee, from the hub "
        "into ~/.cache/huggingface/hub",
        f"would put 2 files, 0.0 MB, into s3://weights/{PREFIX}c0ffee/",
        f"would write s3://weights/{PREFIX}c0ffee.tar.gz",
    ]


def test_dry_run_downloads_no_file_from_real_client(front, cloud, bucket, tmp_path):
    """The command runs as a process with the hub's real client."""
    (tmp_path / "chandra.toml").write_text(
        f'region = "us-east-1"\n[model]\nid = "acme/ocr"\nbucket = "{BUCKET}"\n'
    )
    HubHandler.requests.clear()
    with run_hub() as address:
        result = subprocess.run(
            [sys.executable, "-m", "deploy", "model", "stage", "--dry-run", "--json"],
            env={
                "PYTHONPATH": str(ROOT),
                "AWS_ENDPOINT_URL": front[0],
                "AWS_ACCESS_KEY_ID": "testing",
                "AWS_SECRET_ACCESS_KEY": "testing",
                "HF_ENDPOINT": address,
                "HF_HOME": str(tmp_path / "hf"),
            },
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )

    assert result.returncode == 0, result.stderr
    output = json.loads(result.stdout)
    names = {name for name in FILES if not name.startswith(".")}
    assert output["revision"] == COMMIT
    assert set(output["fetch"]) == set(FILES)
    assert set(output["missing"]) == names
    assert output["into"] == str(tmp_path / "hf" / "hub")
    assert not any(
        request.startswith("GET") and "/resolve/" in request
        for request in HubHandler.requests
    )
    assert list((tmp_path / "hf").rglob("*.safetensors")) == []


def test_existing_tar_is_not_uploaded_again(bucket, chandra, intercept):
    uploads: list[object] = []
    intercept("s3", "CreateMultipartUpload", uploads.append)

    results = [chandra("model", "stage", "--tar") for _ in range(2)]

    assert [result.status for result in results] == [0, 0]
    assert len(uploads) == 1


def test_dry_run_reports_complete_weights(bucket, chandra):
    chandra("model", "stage", "--tar")

    result = chandra("model", "stage", "--tar", "--dry-run")

    assert "holds all of datalab-to/chandra at c0ffee: nothing would be" in result.out
    assert "holds all of it, by name and size: nothing would be put there" in result.out
    assert "would" not in result.out.replace("nothing would", "")


def test_ctrl_c_during_fetch_keeps_cache(bucket, chandra, hub):
    hub.on_fetch = interrupt

    result = chandra("model", "stage")

    assert result.status == 130
    assert "nothing was uploaded to S3; the downloaded files are kept" in result.err


def test_invalid_manifest_is_replaced(bucket, chandra, wire):
    key = f"{PREFIX}c0ffee/{MANIFEST}"
    wire.call("s3", "put_object", Bucket=BUCKET, Key=key, Body=b"no object")
    wire.call(
        "s3", "put_object", Bucket=BUCKET, Key=f"models/x/{MANIFEST}", Body=b"nor this"
    )

    staged = chandra("model", "stage")
    destroyed = chandra("destroy", "--all")

    assert staged.status == 0, staged.err
    assert destroyed.status == 0, destroyed.err
    assert list_keys(wire) == [f"models/x/{MANIFEST}"]


def test_missing_bucket_is_not_found(chandra, cloud):
    result = chandra("model", "stage")

    assert result.status == 4


def test_destroy_all_keeps_foreign_weights(bucket, chandra, wire):
    chandra("model", "stage")
    wire.call("s3", "put_object", Bucket=BUCKET, Key=PREFIX + "theirs/x", Body=b"x")

    destroy_result = chandra("destroy")
    destroy_all_result = chandra("destroy", "--all")

    assert "nothing carries the tag" in destroy_result.out
    assert "delete 3 objects of staged weights" in destroy_all_result.out
    assert list_keys(wire) == [PREFIX + "theirs/x"]


def test_destroy_all_deletes_tar_and_build_sources(bucket, chandra, wire):
    chandra("model", "stage", "--tar")
    for deployment in ("ocr", "other"):
        key = f"builds/{deployment}/v1.zip"
        wire.call("s3", "put_object", Bucket=BUCKET, Key=key, Body=b"x")

    gone_result = chandra("destroy", "--all")

    assert "delete 4 objects of staged weights" in gone_result.out
    assert "delete 1 object of build sources" in gone_result.out
    assert "chandra.lock.json no longer names the weights" in gone_result.out
    assert list_keys(wire) == ["builds/other/v1.zip"]


def test_destroy_all_finds_weights_without_prefix(bucket, chandra, wire, tmp_path):
    path = tmp_path / "chandra.toml"
    path.write_text(path.read_text().replace("[model]", '[model]\nprefix = ""'))
    chandra("model", "stage")

    chandra("destroy", "--all")

    assert list_keys(wire) == []


def test_weights_in_use_elsewhere_are_kept(bucket, chandra, project, wire):
    publish(wire, IMAGE)
    chandra("model", "stage", "--revision", "0123abc")
    project(name="other")
    chandra("model", "stage", "--revision", "0123abc")
    chandra("deploy")
    project(name="ocr")

    refused_result = chandra("destroy", "--all")
    project(name="other")
    owner_result = chandra("destroy", "--all")

    assert refused_result.status == 5
    assert "and weights at s3://weights/" in refused_result.err
    assert owner_result.status == 0, owner_result.err
    assert len(list_keys(wire)) == 3


def test_ctrl_c_during_tar_keeps_weights(bucket, chandra, intercept, tmp_path):
    intercept("s3", "UploadPart", interrupt)

    result = chandra("model", "stage", "--tar")

    assert result.status == 130
    assert "is complete and recorded; the uploaded parts of" in result.err
    assert "c0ffee" in (tmp_path / "chandra.lock.json").read_text()


@pytest.mark.parametrize("call_hub", [HuggingFace().inspect, HuggingFace().fetch])
def test_unreachable_hub_is_reported(monkeypatch, call_hub):
    def offline(*_, **__):
        raise RuntimeError("name or service not known")

    hub = SimpleNamespace(HfApi=lambda: SimpleNamespace(model_info=offline))
    monkeypatch.setitem(sys.modules, "huggingface_hub", hub)

    with pytest.raises(NotFoundError, match="cannot be fetched from the hub") as caught:
        call_hub("datalab-to/chandra", None)

    assert "--from FOLDER" in (caught.value.hint or "")


@pytest.mark.parametrize("revision", ["a/b", "../x", "v 1", "", "größer", "x" * 101])
def test_invalid_revision_name_is_refused(chandra, cloud, hub, revision):

    result = chandra(
        "model", "stage", "--from", str(hub.folder), f"--revision={revision}"
    )

    assert result.status == 2
    assert "is not a valid name for weights" in result.err
    assert cloud.calls == []

"""Images in OCI archives: selection and refusals."""

from __future__ import annotations

import json
import tarfile

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from deploy.errors import ConfigError
from deploy.image.archive import Archive
from tests.deploy.images import (
    CONFIG,
    LAYER,
    OCI,
    digest,
    encoded,
    image_config,
    oci_files,
    oci_index,
    oci_manifest,
    packed,
    write_archive,
)

ARM = image_config("linux/arm64")


def member(content: bytes) -> str:
    return "blobs/" + digest(content).replace(":", "/")


def entry(manifest, **more):
    return {"mediaType": OCI, "digest": digest(manifest), "size": len(manifest), **more}


@pytest.fixture
def archive(tmp_path):
    """Return a function that makes an Archive of members: `archive(files)`."""

    def write(files, **settings):
        path = tmp_path / "image.tar"
        path.write_bytes(packed(files, **settings))
        return Archive(path)

    return write


def of_manifests(*entries, blobs=()):
    files = {"index.json": encoded({"schemaVersion": 2, "manifests": list(entries)})}
    return files | {member(blob): blob for blob in blobs}


def test_an_arm64_image_is_refused(tmp_path):
    path = write_archive(tmp_path / "arm.tar", ARM)

    with pytest.raises(ConfigError, match=r"is for linux/arm64, and .* linux/amd64"):
        Archive(path).select_image()


def test_an_arm64_image_without_a_platform_in_its_index_is_refused(archive):
    with pytest.raises(ConfigError, match="is for linux/arm64"):
        archive(oci_files(ARM, is_nested=False)).image()


def test_windows_image_is_refused(archive):
    files = oci_files(image_config("windows/amd64"), is_nested=False)

    with pytest.raises(ConfigError, match="is for windows/amd64"):
        archive(files).image()


def test_index_without_amd64_names_its_platforms(archive):
    index = oci_index(("linux", "arm64", "sha256:" + "a" * 64),
                      ("windows", "amd64", "sha256:" + "b" * 64))  # fmt: skip

    with pytest.raises(ConfigError, match=r"linux/arm64 and windows/amd64"):
        archive({"index.json": encoded(index)}).image()


def test_amd64_is_chosen_among_platforms(archive):
    arm, amd = encoded(oci_manifest(config=ARM)), encoded(oci_manifest())
    files = of_manifests(
        entry(arm, platform={"os": "linux", "architecture": "arm64"}),
        entry(b"", platform={"os": "unknown", "architecture": "unknown"}),
        entry(amd),
        blobs=(arm, ARM, amd, CONFIG, LAYER),
    )

    assert archive(files).image().digest == digest(amd)


def test_cuda_and_tag_are_read(archive):
    config = image_config(env=["CUDA_VERSION=13.0.1"])

    image = archive(oci_files(config, tag="docker.io/library/ocr:v1.2")).image()

    assert image.configuration.cuda == "13.0"
    assert image.tag == "v1.2"


@pytest.mark.parametrize(
    ("name", "tag"),
    [
        ("v1", "v1"),
        ("latest", "latest"),
        ("ocr:v1", "v1"),
        ("localhost:5000/ocr:v1", "v1"),
        ("localhost:5000/ocr", None),
        (None, None),
    ],
)
def test_tag_is_read_from_annotation(archive, name, tag):
    assert archive(oci_files(tag=name)).image().tag == tag


def two_images():
    other = image_config(labels={"version": "2"})
    first, second = encoded(oci_manifest()), encoded(oci_manifest(config=other))
    names = "org.opencontainers.image.ref.name"
    return of_manifests(
        entry(first, annotations={names: "v1"}),
        entry(second, annotations={names: "v2"}),
        blobs=(first, second, CONFIG, other, LAYER),
    ), digest(second)


def test_tag_selects_one_of_two_images(archive):
    files, second = two_images()

    assert archive(files).image("v2").digest == second


def test_tag_selects_among_images_with_several_tags(archive):
    files, second = two_images()
    index = json.loads(files["index.json"])
    names = "org.opencontainers.image.ref.name"
    latest = index["manifests"][1] | {"annotations": {names: "latest"}}
    index["manifests"].append(latest)
    subject = archive(files | {"index.json": encoded(index)})

    assert [subject.image(tag).digest for tag in ("v2", "latest")] == [second] * 2
    with pytest.raises(ConfigError, match=r"2 images for .*: v1, v2 or latest"):
        subject.image()


def test_ambiguous_images_are_refused(archive):
    with pytest.raises(ConfigError, match=r"2 images for linux/amd64: v1, v2"):
        archive(two_images()[0]).image("v3")


@pytest.mark.parametrize("format", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
def test_blobs_are_read_in_pieces(archive, format):
    files = {f"./{name}": content for name, content in oci_files().items()}

    subject = archive(files, format=format)

    assert subject.image().digest == digest(encoded(oci_manifest()))
    assert b"".join(subject.parts(digest(LAYER), 7)) == LAYER


def test_missing_blob_is_reported_before_upload(archive):
    files = oci_files()
    del files[member(LAYER)]

    with pytest.raises(ConfigError, match=rf"{digest(LAYER)} with .* no such blob"):
        archive(files).image()


def test_truncated_blob_is_reported(archive):
    with pytest.raises(ConfigError, match=r"cut off or damaged: .* 3 bytes of it"):
        archive(oci_files() | {member(LAYER): LAYER[:3]}).image()


def test_manifest_with_wrong_digest_is_damaged(archive):
    manifest = encoded(oci_manifest())

    with pytest.raises(ConfigError, match="is damaged"):
        archive(oci_files() | {member(manifest): manifest + b" "}).image()


def test_old_docker_archive_is_refused(archive):
    with pytest.raises(ConfigError, match="Docker archive from before Docker 25"):
        archive({"manifest.json": b"[]"}).image()


@pytest.mark.parametrize(
    "index",
    [
        b"",
        b"[]",
        b"{}",
        b"[" * 200_000,
        b'{"manifests": 1}',
        b'{"manifests": [1]}',
        b'{"manifests": [{"digest": "sha256:../../../etc/passwd", "size": 1}]}',
        b'{"manifests": [{"digest": "sha256:' + b"a" * 64 + b'", "size": -1}]}',
        b'{"manifests": [{"digest": "sha256:' + b"a" * 64 + b'", "size": 1}]}',
        b"\xff\xfe",
    ],
    ids=["empty", "list", "object", "deep", "number", "entry", "path", "negative",
         "missing", "binary"],
)  # fmt: skip
def test_invalid_index_is_refused(archive, index):
    with pytest.raises(ConfigError) as caught:
        archive({"index.json": index}).image()

    assert caught.value.hint


@pytest.mark.parametrize(
    "manifest",
    [
        {},
        {"config": 1, "layers": []},
        {"config": {"digest": digest(CONFIG), "size": 1}},
        {"config": {"digest": digest(CONFIG), "size": 1}, "layers": [1]},
        {"config": {"digest": digest(CONFIG), "size": "1"}, "layers": []},
    ],
)
def test_invalid_manifest_is_refused(archive, manifest):
    content = encoded(manifest)

    with pytest.raises(ConfigError):
        archive(of_manifests(entry(content), blobs=(content, CONFIG))).image()


JSON = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.sampled_from([digest(CONFIG), digest(LAYER), "linux", "amd64", "../x"]),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.sampled_from(
                ["manifests", "config", "layers", "digest", "size", "platform",
                 "mediaType", "annotations"]
            ),
            inner,
            max_size=4,
        ),
    ),
    max_leaves=12,
)  # fmt: skip


@settings(
    max_examples=100,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(index=JSON, manifest=JSON)
def test_any_documents_are_read_or_refused(archive, index, manifest):
    content = json.dumps(manifest).encode()
    files = of_manifests(entry(content), blobs=(content, CONFIG, LAYER))
    if isinstance(index, dict):
        files["index.json"] = json.dumps(index).encode()

    try:
        image = archive(files).image()
        is_fitting = image.configuration.runs_on_sagemaker
    except ConfigError as error:
        is_fitting = error.hint is not None

    assert is_fitting

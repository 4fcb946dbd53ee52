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

ARM64_CONFIG = image_config("linux/arm64")


def get_member_name(content: bytes) -> str:
    return "blobs/" + digest(content).replace(":", "/")


def build_index_entry(manifest, **more):
    return {"mediaType": OCI, "digest": digest(manifest), "size": len(manifest), **more}


@pytest.fixture
def open_archive(tmp_path):
    """Return a function that writes files to a tar and opens it as an Archive."""

    def write_and_open(files, **settings):
        path = tmp_path / "image.tar"
        path.write_bytes(packed(files, **settings))
        return Archive(path)

    return write_and_open


def build_files(*entries, blobs=()):
    """Return the files of an archive: an index with these entries, and blobs."""
    files = {"index.json": encoded({"schemaVersion": 2, "manifests": list(entries)})}
    return files | {get_member_name(blob): blob for blob in blobs}


def test_an_arm64_image_is_refused(tmp_path):
    path = write_archive(tmp_path / "arm.tar", ARM64_CONFIG)

    with pytest.raises(ConfigError, match=r"is for linux/arm64, and .* linux/amd64"):
        Archive(path).select_image()


def test_arm64_image_without_platform_in_index_is_refused(open_archive):
    with pytest.raises(ConfigError, match="is for linux/arm64"):
        open_archive(oci_files(ARM64_CONFIG, is_nested=False)).select_image()


def test_windows_image_is_refused(open_archive):
    files = oci_files(image_config("windows/amd64"), is_nested=False)

    with pytest.raises(ConfigError, match="is for windows/amd64"):
        open_archive(files).select_image()


def test_index_without_amd64_names_its_platforms(open_archive):
    index = oci_index(("linux", "arm64", "sha256:" + "a" * 64),
                      ("windows", "amd64", "sha256:" + "b" * 64))  # fmt: skip

    with pytest.raises(ConfigError, match=r"linux/arm64 and windows/amd64"):
        open_archive({"index.json": encoded(index)}).select_image()


def test_amd64_is_chosen_among_platforms(open_archive):
    arm, amd = encoded(oci_manifest(config=ARM64_CONFIG)), encoded(oci_manifest())
    files = build_files(
        build_index_entry(arm, platform={"os": "linux", "architecture": "arm64"}),
        build_index_entry(b"", platform={"os": "unknown", "architecture": "unknown"}),
        build_index_entry(amd),
        blobs=(arm, ARM64_CONFIG, amd, CONFIG, LAYER),
    )

    assert open_archive(files).select_image().digest == digest(amd)


def test_cuda_and_tag_are_read(open_archive):
    config = image_config(env=["CUDA_VERSION=13.0.1"])

    image = open_archive(
        oci_files(config, tag="docker.io/library/ocr:v1.2")
    ).select_image()

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
def test_tag_is_read_from_annotation(open_archive, name, tag):
    assert open_archive(oci_files(tag=name)).select_image().tag == tag


def build_two_images():
    """Return the files of an archive with images v1 and v2, and the digest of v2."""
    other = image_config(labels={"version": "2"})
    first, second = encoded(oci_manifest()), encoded(oci_manifest(config=other))
    names = "org.opencontainers.image.ref.name"
    return build_files(
        build_index_entry(first, annotations={names: "v1"}),
        build_index_entry(second, annotations={names: "v2"}),
        blobs=(first, second, CONFIG, other, LAYER),
    ), digest(second)


def test_tag_selects_one_of_two_images(open_archive):
    files, second = build_two_images()

    assert open_archive(files).select_image("v2").digest == second


def test_tag_selects_among_images_with_several_tags(open_archive):
    files, second = build_two_images()
    index = json.loads(files["index.json"])
    names = "org.opencontainers.image.ref.name"
    latest = index["manifests"][1] | {"annotations": {names: "latest"}}
    index["manifests"].append(latest)
    archive = open_archive(files | {"index.json": encoded(index)})

    assert [archive.select_image(tag).digest for tag in ("v2", "latest")] == [
        second
    ] * 2
    with pytest.raises(ConfigError, match=r"2 images for .*: v1, v2 or latest"):
        archive.select_image()


def test_ambiguous_images_are_refused(open_archive):
    with pytest.raises(ConfigError, match=r"2 images for linux/amd64: v1, v2"):
        open_archive(build_two_images()[0]).select_image("v3")


@pytest.mark.parametrize("format", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
def test_blobs_are_read_in_pieces(open_archive, format):
    files = {f"./{name}": content for name, content in oci_files().items()}

    archive = open_archive(files, format=format)

    assert archive.select_image().digest == digest(encoded(oci_manifest()))
    assert b"".join(archive.read_parts(digest(LAYER), 7)) == LAYER


def test_missing_blob_is_reported_before_upload(open_archive):
    files = oci_files()
    del files[get_member_name(LAYER)]

    with pytest.raises(ConfigError, match=rf"{digest(LAYER)} with .* no such blob"):
        open_archive(files).select_image()


def test_truncated_blob_is_reported(open_archive):
    with pytest.raises(ConfigError, match=r"cut off or damaged: .* 3 bytes of it"):
        open_archive(oci_files() | {get_member_name(LAYER): LAYER[:3]}).select_image()


def test_manifest_with_wrong_digest_is_damaged(open_archive):
    manifest = encoded(oci_manifest())

    with pytest.raises(ConfigError, match="is damaged"):
        open_archive(
            oci_files() | {get_member_name(manifest): manifest + b" "}
        ).select_image()


def test_old_docker_archive_is_refused(open_archive):
    with pytest.raises(ConfigError, match="Docker archive from before Docker 25"):
        open_archive({"manifest.json": b"[]"}).select_image()


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
def test_invalid_index_is_refused(open_archive, index):
    with pytest.raises(ConfigError) as caught:
        open_archive({"index.json": index}).select_image()

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
def test_invalid_manifest_is_refused(open_archive, manifest):
    content = encoded(manifest)

    with pytest.raises(ConfigError):
        open_archive(
            build_files(build_index_entry(content), blobs=(content, CONFIG))
        ).select_image()


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
def test_any_documents_are_read_or_refused(open_archive, index, manifest):
    content = json.dumps(manifest).encode()
    files = build_files(build_index_entry(content), blobs=(content, CONFIG, LAYER))
    if isinstance(index, dict):
        files["index.json"] = json.dumps(index).encode()

    try:
        image = open_archive(files).select_image()
        is_fitting = image.configuration.runs_on_sagemaker
    except ConfigError as error:
        is_fitting = error.hint is not None

    assert is_fitting

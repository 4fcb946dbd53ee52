"""Tar files of many writers, read by the names of their members."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from deploy.errors import ConfigError
from deploy.image.tar import KEPT_BYTES, TarReader
from tests.deploy.images import packed

FILES = {"index.json": b"{}", "blobs/sha256/aa": b"a blob", "empty": b""}
# One file for all examples of a property: a folder for each would be slow.
SHARED = settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
COMPRESSIONS: dict[str, Callable[[bytes], bytes]] = {
    "none": bytes,
    "gzip": gzip.compress,
    "bzip2": bz2.compress,
    "xz": lzma.compress,
}


def open_tar(path: Path, content: bytes, **settings) -> TarReader:
    """Write a tar file, and return its reader."""
    path.write_bytes(content)
    return TarReader(path, again="save it again", **settings)


def build_tar_with_member(name="x", **fields) -> bytes:
    """Return a tar file of one member with a forged header."""
    info = tarfile.TarInfo(name)
    for field, value in fields.items():
        setattr(info, field, value)
    return info.tobuf(tarfile.GNU_FORMAT) + bytes(2 * tarfile.BLOCKSIZE)


def test_names_with_a_leading_dot_slash_are_read(tmp_path):
    content = packed({f"./{name}": content for name, content in FILES.items()})

    tar = open_tar(tmp_path / "a.tar", content)

    assert tar.read_document("index.json") == b"{}"
    assert sorted(tar.names) == sorted(FILES)


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_compressed_files_are_read(tmp_path, compression):
    tar = open_tar(tmp_path / "a", COMPRESSIONS[compression](packed(FILES)))

    assert tar.read_document("blobs/sha256/aa") == b"a blob"


def test_zstandard_file_is_refused_with_hint(tmp_path):
    with pytest.raises(ConfigError, match="Zstandard") as caught:
        _ = open_tar(tmp_path / "a.tar", b"\x28\xb5\x2f\xfd rest").names

    assert "zstd -d" in (caught.value.hint or "")


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE])
def test_links_inside_the_archive_are_followed(tmp_path, kind):
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w") as archive:
        link = tarfile.TarInfo("./blobs/sha256/bb")
        link.type = kind
        link.linkname = "aa" if kind == tarfile.SYMTYPE else "./blobs/sha256/aa"
        archive.addfile(link)
        info = tarfile.TarInfo("./blobs/sha256/aa")
        info.size = 6
        archive.addfile(info, io.BytesIO(b"a blob"))

    tar = open_tar(tmp_path / "a.tar", target.getvalue())

    assert tar.read_document("blobs/sha256/bb") == b"a blob"
    assert sorted(tar.names) == ["blobs/sha256/aa", "blobs/sha256/bb"]
    assert tar.get_size("blobs/sha256/bb") == 6


@pytest.mark.parametrize("target", ["/etc/passwd", "../../../etc/passwd", "x"])
def test_dangling_link_is_refused(tmp_path, target):
    content = build_tar_with_member(type=tarfile.SYMTYPE, linkname=target)

    with pytest.raises(ConfigError, match="is a link"):
        open_tar(tmp_path / "a.tar", content).read_document("x")


@pytest.mark.parametrize("name", ["../x", "/x", "a/../../x", "./..", "a/../x"])
def test_name_outside_archive_is_refused(tmp_path, name):
    with pytest.raises(ConfigError, match="leads out of the archive"):
        _ = open_tar(tmp_path / "a.tar", packed({name: b"x"})).names


def test_member_beyond_end_of_file_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="is cut off"):
        _ = open_tar(tmp_path / "a.tar", build_tar_with_member(size=1_000_000)).names


def test_too_large_member_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"60,000,000,000 bytes"):
        _ = open_tar(
            tmp_path / "a.tar", build_tar_with_member(size=60_000_000_000)
        ).names


def test_too_large_document_is_refused(tmp_path):
    tar = open_tar(tmp_path / "a.tar", packed({"index.json": bytes(5_000_000)}))

    with pytest.raises(ConfigError, match=r"5,000,000 bytes, and ECR takes 4,194,304"):
        tar.read_document("index.json")


def test_too_large_header_is_refused(tmp_path):
    content = packed({"x" * 100_000: b""})

    with pytest.raises(ConfigError, match="not an OCI archive"):
        _ = open_tar(tmp_path / "a.tar", content).names


@pytest.mark.parametrize("size", [-512, -1024, -(1 << 40)])
def test_negative_size_is_refused(tmp_path, size):
    with pytest.raises(ConfigError):
        _ = open_tar(tmp_path / "a.tar", build_tar_with_member(size=size)).names


def test_decompression_bomb_is_refused(tmp_path):
    content = gzip.compress(packed({"x": bytes(30_000_000)}))

    with pytest.raises(ConfigError, match="more than 200 times"):
        _ = open_tar(tmp_path / "a.tar", content).names


def test_a_sparse_member_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="sparse"):
        _ = open_tar(
            tmp_path / "a.tar", build_tar_with_member(type=tarfile.GNUTYPE_SPARSE)
        ).names


NAMES = st.lists(
    st.text(st.characters(codec="utf-8", exclude_characters="/\0"), min_size=1).filter(
        lambda part: part not in (".", "..")
    ),
    min_size=1,
    max_size=4,
).map("/".join)
SPELLINGS = st.sampled_from(["{}", "./{}", ".//{}", "././{}"])


@SHARED
@given(
    files=st.dictionaries(NAMES, st.binary(max_size=2000), max_size=6),
    spelling=SPELLINGS,
    compression=st.sampled_from(sorted(COMPRESSIONS)),
    kept_bytes=st.sampled_from([0, KEPT_BYTES]),
    is_pax=st.booleans(),
)
def test_ordinary_archive_is_read_completely(
    tmp_path, files, spelling, compression, kept_bytes, is_pax
):
    content = packed(
        {spelling.format(name): content for name, content in files.items()},
        format=tarfile.PAX_FORMAT if is_pax else tarfile.GNU_FORMAT,
    )

    tar = open_tar(
        tmp_path / "a.tar", COMPRESSIONS[compression](content), kept_bytes=kept_bytes
    )

    assert {name: tar.read_document(name) for name in tar.names} == files
    for name, content in files.items():
        assert b"".join(tar.read_parts(name, 700)) == content


@SHARED
@given(
    content=st.one_of(
        st.binary(max_size=3000),
        # A valid archive with some of its bytes overwritten, or its end missing.
        st.builds(
            lambda place, bytes_, end: (
                packed(FILES)[:place] + bytes_ + packed(FILES)[place + len(bytes_) :]
            )[:end],
            st.integers(0, 4000),
            st.binary(max_size=40),
            st.integers(0, 10_240),
        ),
    ),
    compression=st.sampled_from(sorted(COMPRESSIONS)),
    cut=st.integers(0, 20),
)
def test_damaged_tar_is_read_or_refused_with_hint(tmp_path, content, compression, cut):
    whole = COMPRESSIONS[compression](content)
    tar = open_tar(tmp_path / "a.tar", whole[: len(whole) - cut])

    try:
        is_read = all(tar.read_document(name) is not None for name in tar.names)
    except ConfigError as error:
        is_read = error.hint is not None

    assert is_read

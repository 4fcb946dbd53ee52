"""Reader of tar members by name, without unpacking.

Names may begin with "./", members may come in any order and as links to each other, and
the whole file may be compressed with gzip, bzip2 or xz. Names that lead out of the
archive, truncated members and headers of unreasonable size are rejected.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import posixpath
import tarfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import IO, Any, cast

from deploy.errors import ConfigError

__all__ = ["MAX_DOCUMENT_BYTES", "TarReader"]

MAX_DOCUMENT_BYTES = 4 * 1024 * 1024
"""Largest manifest that ECR accepts; other documents of an archive are smaller."""
MAX_MEMBER_BYTES = 52_000 * 1024 * 1024
"""Largest layer that ECR accepts."""
MAX_MEMBERS = 100_000
MAX_HEADER_BYTES = 64 * 1024
"""Limit for long names and PAX headers, which tarfile reads into memory whole."""
MAX_LINKS = 16
KEPT_BYTES = 32 * 1024 * 1024
"""Small members kept in memory: each read from a compressed file is a pass over it."""
SMALL_BYTES = 1024 * 1024
MAX_RATIO = 200
"""Limit of the compression ratio; layers are compressed and hardly get smaller."""

OPENERS: dict[bytes, Callable[[Path], Any]] = {
    b"\x1f\x8b": gzip.open,
    b"BZh": bz2.open,
    b"\xfd7zXZ\0": lzma.open,
}
ZSTANDARD = b"\x28\xb5\x2f\xfd"
COPY_HINT = "copy or save it again; compare its sha256 with the original's"


@dataclass(frozen=True, slots=True)
class Member:
    """Place of a file's bytes in the uncompressed archive."""

    offset: int
    size: int


class TarReader:
    """Tar file that is read once for its members, and again for each large one."""

    def __init__(self, path: Path, *, again: str, kept_bytes: int = KEPT_BYTES) -> None:
        """Prepare to read a tar file, which is opened at the first access.

        `again` is the hint of most errors: how to create the file again. Members of up
        to `SMALL_BYTES` are kept in memory, up to `kept_bytes` together.
        """
        self._path = path
        self._hint = again
        self._links: dict[str, str] = {}
        self._kept: dict[str, bytes] = {}
        self._free_bytes = kept_bytes

    @property
    def names(self) -> list[str]:
        """Names of all files and links, without a leading "./"."""
        return [*self._members, *self._links]

    def get_size(self, name: str) -> int | None:
        """Return the size of a member in bytes, following links; None if missing."""
        member = self._members.get(self._follow_links(name))
        return None if member is None else member.size

    def read_document(self, name: str) -> bytes:
        """Return the bytes of a small member.

        Raises ConfigError if it is missing or larger than `MAX_DOCUMENT_BYTES`.
        """
        target = self._follow_links(name)
        member = self._members.get(target)
        if member is None:
            raise ConfigError(f"{self._path} holds no {name}", hint=self._hint)
        if member.size > MAX_DOCUMENT_BYTES:
            raise ConfigError(
                f"{name} in {self._path} has {member.size:,} bytes, and ECR takes "
                f"{MAX_DOCUMENT_BYTES:,}",
                hint=self._hint,
            )
        if target in self._kept:
            return self._kept[target]
        return b"".join(self.read_parts(name, MAX_DOCUMENT_BYTES))

    def read_parts(self, name: str, part_bytes: int) -> Iterator[bytes]:
        """Yield the content of a member in pieces of at most `part_bytes`.

        Raises ConfigError if it is missing or cannot be read.
        """
        member = self._members.get(self._follow_links(name))
        if member is None:
            raise ConfigError(f"{self._path} holds no {name}", hint=self._hint)
        remaining = member.size
        try:
            with self._open() as file:
                file.seek(member.offset)
                while remaining:
                    piece = file.read(min(part_bytes, remaining))
                    if not piece:
                        raise EOFError
                    remaining -= len(piece)
                    yield piece
        except (EOFError, OSError, zlib.error, lzma.LZMAError) as error:
            raise self._to_config_error(error) from error

    @cached_property
    def _members(self) -> dict[str, Member]:
        """Files by name; of members with equal names, the last one counts, as for tar.

        Reading them fills the links and the small members too.
        """
        members: dict[str, Member] = {}
        try:
            with self._open() as file:
                for info in _read_headers(file):
                    name = self._parse_name(info)
                    self._links.pop(name, None)
                    if info.islnk() or info.issym():
                        self._links[name] = _resolve_link(info, name)
                        members.pop(name, None)
                    elif info.isreg():
                        members[name] = self._locate_member(info)
                        self._keep_if_small(name, file, members[name])
        except (
            EOFError,
            OSError,
            ValueError,
            OverflowError,
            tarfile.TarError,
            zlib.error,
            lzma.LZMAError,
        ) as error:
            raise self._to_config_error(error) from error
        return members

    def _locate_member(self, info: tarfile.TarInfo) -> Member:
        """Return the place of a file; raise EOFError if the archive ends inside it."""
        if info.issparse():
            raise ConfigError(
                f"{_escape_name(info.name)} in {self._path} is stored as a sparse file",
                hint="pack it again without --sparse",
            )
        if info.size > MAX_MEMBER_BYTES:
            raise ConfigError(
                f"{_escape_name(info.name)} in {self._path} has {info.size:,} bytes, "
                f"and ECR takes layers of {MAX_MEMBER_BYTES:,}",
                hint=self._hint,
            )
        num_bytes = self._path.stat().st_size
        end = info.offset_data + info.size
        if not self._is_compressed and end > num_bytes:
            raise EOFError
        if end > MAX_RATIO * num_bytes + SMALL_BYTES:
            raise ConfigError(
                f"{self._path} decompresses to more than {MAX_RATIO} times its size",
                hint=self._hint,
            )
        return Member(info.offset_data, info.size)

    def _keep_if_small(self, name: str, file: IO[bytes], member: Member) -> None:
        """Keep the content of a small member in memory while there is room."""
        self._free_bytes += len(self._kept.pop(name, b""))
        if member.size <= min(SMALL_BYTES, self._free_bytes):
            file.seek(member.offset)
            content = file.read(member.size)
            if len(content) < member.size:
                raise EOFError
            self._kept[name] = content
            self._free_bytes -= len(content)

    def _parse_name(self, info: tarfile.TarInfo) -> str:
        """Return the name without "." parts; raises ConfigError if it leads out."""
        parts = info.name.split("/")
        if info.name.startswith("/") or ".." in parts or "\0" in info.name:
            raise ConfigError(
                f"{self._path} is not an image: its member {_escape_name(info.name)} "
                "leads out of the archive",
                hint=self._hint,
            )
        return "/".join(part for part in parts if part not in ("", "."))

    def _follow_links(self, name: str) -> str:
        """Follow links in the archive; return the name of the file or missing member.

        Raises ConfigError for a link out of the archive, and for too many links.
        """
        target = name
        for _ in range(MAX_LINKS):
            # The members are read first: links are found in the same pass.
            if target in self._members or target not in self._links:
                return target
            target = self._links[target]
            if target.startswith(("/", "../")) or target == "..":
                raise ConfigError(
                    f"{name} in {self._path} is a link out of the archive",
                    hint="pack it again with --dereference",
                )
        raise ConfigError(
            f"{name} in {self._path} is a link that leads to no file",
            hint="pack it again with --dereference",
        )

    @cached_property
    def _opener(self) -> Callable[[Path], Any] | None:
        """Return a function that opens the file decompressed; None if it is plain."""
        with self._path.open("rb") as file:
            head = file.read(8)
        if head.startswith(ZSTANDARD):
            raise ConfigError(
                f"{self._path} is compressed with Zstandard, which is not read here",
                hint=f"zstd -d {self._path}, then the same command with its output",
            )
        return next((o for magic, o in OPENERS.items() if head.startswith(magic)), None)

    @property
    def _is_compressed(self) -> bool:
        return self._opener is not None

    def _open(self) -> IO[bytes]:
        if self._opener is None:
            return self._path.open("rb")
        return cast("IO[bytes]", self._opener(self._path))

    def _to_config_error(self, error: Exception) -> ConfigError:
        """Return the error for users of an exception while the file was read."""
        if isinstance(error, EOFError) or "unexpected end" in str(error):
            return ConfigError(f"{self._path} is cut off", hint=COPY_HINT)
        if isinstance(error, OSError) and error.strerror:
            return ConfigError(
                f"{self._path} cannot be read: {error.strerror}", hint=self._hint
            )
        if isinstance(error, zlib.error | lzma.LZMAError | OSError):
            return ConfigError(f"{self._path} is damaged: {error}", hint=COPY_HINT)
        return ConfigError(
            f"{self._path} is not an OCI archive: it is not a "
            "tar file, or it is damaged",
            hint=self._hint,
        )


class _HeaderFile:
    """File of which tarfile may read only headers."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def read(self, size: int = -1) -> bytes:
        # A forged header may have a negative size, which would read the whole file.
        if not 0 <= size <= MAX_HEADER_BYTES:
            raise tarfile.ReadError(f"a header of {size:,} bytes")
        return self._file.read(size)

    def seek(self, offset: int) -> int:
        return self._file.seek(offset)

    def tell(self) -> int:
        return self._file.tell()


def _read_headers(file: IO[bytes]) -> Iterator[tarfile.TarInfo]:
    """Yield members in their order; raise TarError at an invalid header."""
    with tarfile.open(fileobj=cast("Any", _HeaderFile(file)), mode="r:") as tar:
        end = 0
        for number, info in enumerate(tar):
            # tarfile would read the same headers again and again.
            if info.size < 0 or tar.offset <= end or number >= MAX_MEMBERS:
                raise tarfile.ReadError("an invalid header")
            end = tar.offset
            yield info


def _resolve_link(info: tarfile.TarInfo, name: str) -> str:
    """Return the target of a link; that of a hard link is relative to the root."""
    if info.islnk():
        return posixpath.normpath(info.linkname)
    if info.linkname.startswith("/"):
        return info.linkname
    return posixpath.normpath(posixpath.join(posixpath.dirname(name), info.linkname))


def _escape_name(name: str) -> str:
    """Return a name for messages, with control characters escaped."""
    text = name.encode("unicode_escape", "backslashreplace").decode()
    return text if len(text) <= 80 else f"{text[:77]}..."

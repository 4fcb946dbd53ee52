"""Hash of a file that is computed while its parts are written."""

from __future__ import annotations

import hashlib
import threading

import pytest

from handler.weights.streamed_hash import StreamedHash
from tests.waiting import until

PART = 1000
CONTENT = bytes(range(250)) * 14
SIZE = len(CONTENT)


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "weights"
    path.write_bytes(bytes(len(CONTENT)))
    return path


class HashThread:
    """Thread that hashes a file while the test writes its parts."""

    def __init__(self, path, missing, size=SIZE):
        self.path = path
        self.num_bytes = 0
        self.digest: str | None = "not computed"
        self.hash = StreamedHash(path, size, PART, missing, self._add)
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self):
        self.digest = self.hash.run()

    def _add(self, num_bytes):
        self.num_bytes += num_bytes

    def write_parts(self, *numbers):
        """Write parts of CONTENT to the file, and tell the hash."""
        for number in numbers:
            with self.path.open("r+b") as file:
                file.seek(number * PART)
                file.write(CONTENT[number * PART : (number + 1) * PART])
            self.hash.add(number)

    def result(self):
        """Wait for the thread and return the digest."""
        self._thread.join(30)
        return self.digest


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (3, 2, 1, 0), (2, 0, 3, 1)])
def test_parts_in_any_order_give_the_hash_of_the_file(path, order):
    hashing = HashThread(path, range(4))

    hashing.write_parts(*order)

    assert hashing.result() == hashlib.sha256(CONTENT).hexdigest()
    assert hashing.num_bytes == len(CONTENT)


def test_parts_are_hashed_before_the_file_is_complete(path):
    hashing = HashThread(path, range(4))

    hashing.write_parts(3, 1, 0)

    until(lambda: hashing.num_bytes == 2 * PART)
    hashing.write_parts(2)
    assert hashing.result() == hashlib.sha256(CONTENT).hexdigest()


def test_parts_of_an_earlier_attempt_are_hashed_at_once(path):
    path.write_bytes(CONTENT)
    hashing = HashThread(path, [3])

    until(lambda: hashing.num_bytes == 3 * PART)
    hashing.write_parts(3)

    assert hashing.result() == hashlib.sha256(CONTENT).hexdigest()


def test_abandoned_hash_has_no_digest(path):
    hashing = HashThread(path, range(4))

    hashing.write_parts(0)
    hashing.hash.abandon()

    assert hashing.result() is None


def test_empty_file_has_the_hash_of_no_bytes(path):
    assert HashThread(path, [], size=0).result() == hashlib.sha256().hexdigest()


def test_truncated_file_has_another_hash(path):
    path.write_bytes(CONTENT[:-1])

    digest = HashThread(path, []).result()

    assert digest not in (None, hashlib.sha256(CONTENT).hexdigest())

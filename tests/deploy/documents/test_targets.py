"""Names of results: distinct on every file system, below their folder, stable."""

from __future__ import annotations

import hashlib
import unicodedata
from pathlib import PurePosixPath, PureWindowsPath

import pytest
from hypothesis import given, strategies as st

from deploy.documents.targets import ENDINGS, assign_targets, to_portable_name

PARTS = st.sampled_from(
    ["a", "A", "a.md", "a.pdf", "A.PDF", "é.pdf", "e\u0301.pdf", "x", "x.", "x ", "con",
     "NUL.pdf", "..", ".", "", "straße", "STRASSE", "a.pdf.error", "ﬁ", "fi",
     "a~01234567.pdf"]
) | st.text(
    st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="/"), max_size=5
)  # fmt: skip
NAMES = st.lists(PARTS, min_size=1, max_size=4).map("/".join)


def make_id(text):
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def build_names_by_id(names):
    return {
        make_id(f"{n} {name}"): to_portable_name(name) for n, name in enumerate(names)
    }


def fold_case(path):
    """Return the key by which a case-insensitive, normalising file system compares."""
    return unicodedata.normalize("NFD", path).casefold()


@given(NAMES)
def test_names_stay_below_their_folder(name):
    path = PurePosixPath("/into") / f"{to_portable_name(name)}.md"

    assert ".." not in path.parts
    assert path.is_relative_to("/into")
    assert path != PurePosixPath("/into")


@given(NAMES)
def test_every_name_is_valid_on_windows(name):
    path = PureWindowsPath(f"{to_portable_name(name, is_windows=True)}.md")

    assert not path.drive
    assert not path.root
    # Newer Pythons ask ntpath of the running version for that.
    assert not any(PureWindowsPath(part).is_reserved() for part in path.parts)
    assert not any(part.endswith((".", " ")) for part in path.parts)


@given(st.lists(NAMES, max_size=8))
def test_results_have_distinct_files_and_folders(names):
    targets = assign_targets(build_names_by_id(names))

    files = [
        fold_case(f"{target}.{end}") for target in targets.values() for end in ENDINGS
    ]
    assert len(targets) == len(names)
    assert len(set(files)) == len(files)
    folders = {str(parent) for file in files for parent in PurePosixPath(file).parents}
    assert not folders & set(files)


@given(st.lists(NAMES, max_size=6), st.randoms(use_true_random=False))
def test_names_do_not_depend_on_the_order(names, random):
    items = list(build_names_by_id(names).items())
    random.shuffle(items)

    assert assign_targets(dict(items)) == assign_targets(build_names_by_id(names))


@given(st.lists(NAMES, min_size=1, max_size=6))
def test_written_results_keep_their_names(names):
    ids = build_names_by_id(names)
    last = list(ids)[-1]

    assert assign_targets(ids, {last})[last] == ids[last]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("x//y.pdf", "x/y.pdf"),
        ("./x/y.pdf", "x/y.pdf"),
        ("x./y.pdf", "x._/y.pdf"),
        ("con/aux.pdf", "con_/aux_.pdf"),
        ("../y.pdf", ".._/y.pdf"),
        ("plain: a name?.pdf", "plain: a name?.pdf"),
    ],
)
def test_name_is_changed_as_little_as_possible(name, expected):
    assert to_portable_name(name, is_windows=False) == expected


def test_forbidden_characters_are_replaced_on_windows():
    assert to_portable_name("10:30\\a?.pdf", is_windows=True) == "10_30_a_.pdf"


def test_names_beside_documents_are_case_sensitive():
    ids = {"1" * 32: "s3://in/x//y.pdf", "2" * 32: "s3://in/x/y.pdf", "3" * 32: "X"}

    assert assign_targets(ids, is_tree=False) == ids

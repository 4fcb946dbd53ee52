"""Names, statuses and codes of errors."""

from __future__ import annotations

import inspect
import re

import pytest

from handler import errors
from handler.errors import HandlerError, RequestError, error_with_code

CLASSES = [
    value
    for value in vars(errors).values()
    if inspect.isclass(value) and issubclass(value, HandlerError)
]


def drawn_tree() -> dict[str, tuple[str | None, int, str]]:
    """Return parent, status and code of each class in the module's docstring."""
    assert errors.__doc__ is not None
    drawn: dict[str, tuple[str | None, int, str]] = {}
    parents: list[str] = []
    for line in errors.__doc__.splitlines():
        if match := re.fullmatch(r"([│├└─ ]*)(\w+) +(\d{3})  (\w+)", line):
            lines, name, status, code = match.groups()
            parents[len(lines) // 4 :] = [name]
            drawn[name] = (parents[-2] if len(parents) > 1 else None, int(status), code)
    return drawn


def test_the_tree_in_the_docstring_is_the_tree_in_the_code():
    actual_tree = {
        cls.__name__: (
            None if cls is HandlerError else cls.__mro__[1].__name__,
            cls.status,
            cls.code,
        )
        for cls in CLASSES
    }

    assert drawn_tree() == actual_tree


def test_every_error_is_exported():
    exported = {name for name in errors.__all__ if name.endswith("Error")}

    assert exported == {cls.__name__ for cls in CLASSES}


def test_no_two_errors_share_a_code():
    assert len({cls.code for cls in CLASSES}) == len(CLASSES)


def test_no_two_errors_share_a_title():
    assert len({cls.title for cls in CLASSES}) == len(CLASSES)


@pytest.mark.parametrize("cls", CLASSES)
def test_error_is_found_by_its_code(cls):
    error = error_with_code(cls.code, "page 3 ends early")

    assert type(error) is cls
    assert error.detail == "page 3 ends early"


def test_unknown_code_is_an_internal_error():
    assert type(error_with_code("no_such_code", "gone")) is HandlerError


@pytest.mark.parametrize("cls", CLASSES)
def test_request_errors_are_4xx_and_others_5xx(cls):
    assert cls.status // 100 == (4 if issubclass(cls, RequestError) else 5)


@pytest.mark.parametrize("cls", CLASSES)
def test_error_without_a_message_has_a_detail(cls):
    assert cls().detail

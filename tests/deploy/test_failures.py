"""Permanent and transient failures."""

from __future__ import annotations

import inspect

from deploy.failures import PERMANENT, advice_lines, is_permanent
from deploy.results.parse import TRANSIENT_CODES
from handler import errors

TRANSIENT_CLIENT_ERRORS = {"client_gone", "document_changed"}
"""Codes with a 4xx status whose cause is not the document."""


def status_by_code():
    return {
        cls.code: cls.status
        for cls in vars(errors).values()
        if inspect.isclass(cls) and issubclass(cls, errors.HandlerError)
    }


def test_permanent_codes_are_client_errors_of_the_service():
    client_errors = {
        code for code, status in status_by_code().items() if 400 <= status < 500
    }

    assert set(PERMANENT) == client_errors - TRANSIENT_CLIENT_ERRORS | {
        "deadline_exceeded"
    }
    assert not TRANSIENT_CODES & set(PERMANENT)


def test_unknown_code_is_not_permanent():
    assert not is_permanent("failed")
    assert not is_permanent(None)


def test_advice_names_the_first_of_many_documents():
    lines = advice_lines({"unreadable_document": [f"{n}.pdf" for n in range(7)]})

    assert lines == [
        "7 would fail again, with unreadable_document: 0.pdf, 1.pdf, 2.pdf, 3.pdf, "
        "4.pdf and 2 more",
        f"  try: {PERMANENT['unreadable_document']}",
    ]

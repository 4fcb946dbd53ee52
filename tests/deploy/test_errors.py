"""What goes wrong, and how a command then ends."""

from __future__ import annotations

import inspect
import re

from deploy import errors


def tree():
    return {
        name: (cls.exit_code, cls.code)
        for name, cls in vars(errors).items()
        if inspect.isclass(cls) and issubclass(cls, errors.DeployError)
    }


def test_the_tree_at_the_top_of_the_module_is_the_tree():
    written = {
        name: (int(status), code)
        for name, status, code in re.findall(
            r"(\w+Error) +(\d) +(\w+)", inspect.getdoc(errors) or ""
        )
    }

    assert written == tree()


def test_every_error_has_a_code_of_its_own():
    codes = [code for _, code in tree().values()]

    assert len(set(codes)) == len(codes)


def test_no_error_ends_as_a_bug_or_as_success_does():
    assert {status for status, _ in tree().values()} & {0, 3, 130} == set()


def test_an_error_says_all_of_itself_to_a_program():
    error = errors.NotFoundError("no endpoint ocr", hint="chandra-sagemaker list")

    assert error.to_json() == {
        "code": "not_found",
        "message": "no endpoint ocr",
        "hint": "chandra-sagemaker list",
        "exit_code": 4,
    }

"""Tree of errors, with exit statuses and codes."""

from __future__ import annotations

import ast
import inspect
import re
from pathlib import Path

from deploy import errors

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"


def error_classes():
    """Return exit status and code of every error class by its name."""
    return {
        name: (cls.exit_code, cls.code)
        for name, cls in vars(errors).items()
        if inspect.isclass(cls) and issubclass(cls, errors.DeployError)
    }


def test_docstring_shows_the_tree_of_errors():
    documented = {
        name: (int(status), code)
        for name, status, code in re.findall(
            r"(\w+Error) +(\d) +(\w+)", inspect.getdoc(errors) or ""
        )
    }

    assert documented == error_classes()


def test_every_error_has_a_code_of_its_own():
    codes = [code for _, code in error_classes().values()]

    assert len(set(codes)) == len(codes)


def test_no_error_has_the_status_of_success_or_of_a_bug():
    assert {status for status, _ in error_classes().values()} & {0, 3, 130} == set()


def test_error_as_json_has_all_fields():
    error = errors.NotFoundError("no endpoint ocr", hint="chandra-sagemaker list")

    assert error.to_json() == {
        "code": "not_found",
        "message": "no endpoint ocr",
        "hint": "chandra-sagemaker list",
        "exit_code": 4,
    }


def test_error_with_another_message_keeps_its_class_and_code():
    error = errors.DocumentError("no pages", code="unreadable_document")

    changed = error.with_message("page 1 is damaged", hint="repair it")

    assert type(changed) is errors.DocumentError
    assert (changed.code, str(changed)) == ("unreadable_document", "page 1 is damaged")
    assert (error.message, changed.hint) == ("no pages", "repair it")


def find_raised_errors():
    """Yield each place that creates an error, and the names of its arguments."""
    for path in sorted(DEPLOY.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Name)
                and node.func.id in error_classes()
            ):
                place = f"{path.relative_to(DEPLOY)}:{node.lineno}"
                yield place, {keyword.arg for keyword in node.keywords}


def test_every_error_has_a_hint():
    places = dict(find_raised_errors())

    assert len(places) > 50
    assert [
        place for place, arguments in places.items() if "hint" not in arguments
    ] == []

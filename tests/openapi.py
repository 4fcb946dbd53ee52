"""Checks of replies against handler/openapi.yaml."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import yaml

import handler

PATH = Path(handler.__file__).with_name("openapi.yaml")
NDJSON = "application/x-ndjson"
URI = "urn:openapi"


@cache
def read_specification() -> Mapping[str, Any]:
    """Return the content of openapi.yaml."""
    parsed = yaml.safe_load(PATH.read_text())
    assert isinstance(parsed, dict)
    return parsed


def resolve(value: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the target of a `$ref`; return any other value unchanged."""
    while "$ref" in value:
        target: Any = read_specification()
        for name in value["$ref"].removeprefix("#/").split("/"):
            target = target[name.replace("~1", "/").replace("~0", "~")]
        value = target
    return value


def find_operation() -> Mapping[str, Any]:
    """Return the operation that reads a document, which has two paths."""
    operation: Mapping[str, Any] = read_specification()["paths"][
        "/predictions/chandra"
    ]["post"]
    return operation


def find_response(status: int) -> Mapping[str, Any]:
    """Return the description of responses with this status.

    Raise AssertionError if there is none.
    """
    description = find_operation()["responses"].get(str(status))
    assert description is not None, f"openapi.yaml has no answer of status {status}"
    return resolve(description)


def validate(value: object, schema: Mapping[str, Any]) -> None:
    """Raise AssertionError with the position at which `value` violates `schema`."""
    # The schema's references are to the file, so that is where it must be read from.
    validator = jsonschema.Draft202012Validator(
        {
            "$id": URI,
            "components": read_specification()["components"],
            "allOf": [schema],
        }
    )
    errors = sorted(validator.iter_errors(value), key=lambda e: e.json_path)
    assert not errors, "\n".join(_describe_errors(errors))


def check_reply(status: int, content_type: str, body: bytes) -> None:
    """Raise AssertionError for a reply that openapi.yaml does not describe.

    NDJSON must be complete: lines of pages and a final line.
    """
    media_type = content_type.partition(";")[0].strip().lower()
    content = find_response(status)["content"]
    assert media_type in content, (
        f"openapi.yaml has no {media_type} for status {status}, "
        f"only {', '.join(content)}"
    )
    schema = content[media_type]["schema"]
    text = body.decode()
    if media_type == NDJSON:
        _check_lines(text, schema)
    elif media_type.endswith("json"):
        validate(_parse_json(text), schema)
    else:
        validate(text, schema)


def _check_lines(text: str, schema: Mapping[str, Any]) -> None:
    assert text.endswith("\n"), "the last line of NDJSON has no end"
    lines = [_parse_json(line) for line in text.removesuffix("\n").split("\n")]
    for line in lines:
        validate(line, schema)
    events = [line["event"] for line in lines]
    assert set(events[:-1]) <= {"page"}, f"events before the last are {events[:-1]}"
    assert events[-1] in ("end", "error"), "the stream was cut off: no end line"


def _parse_json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise AssertionError(f"not JSON: {text[:200]!r}") from error


def _describe_errors(errors: list[jsonschema.ValidationError]) -> Iterator[str]:
    """Return a line for each leaf error, because a oneOf error has no details."""
    leaves = [leaf for error in errors for leaf in _find_leaf_errors(error)]
    # After another error in the same object, jsonschema reports all properties as
    # unevaluated.
    named = [leaf for leaf in leaves if leaf.validator != "unevaluatedProperties"]
    for leaf in named or leaves:
        yield f"{leaf.json_path}: {leaf.message[:300]}"


def _find_leaf_errors(
    error: jsonschema.ValidationError,
) -> Iterator[jsonschema.ValidationError]:
    if not error.context:
        yield error
        return
    # Report only the alternatives that are closest to the value.
    by_branch: dict[object, list[jsonschema.ValidationError]] = {}
    for inner in error.context:
        by_branch.setdefault(inner.schema_path[0], []).append(inner)
    nearest = min(by_branch.values(), key=_distance)
    for inner in nearest:
        yield from _find_leaf_errors(inner)


def _distance(errors: list[jsonschema.ValidationError]) -> tuple[bool, int]:
    is_other_event = any(e.json_path.endswith(".event") for e in errors)
    return is_other_event, len(errors)

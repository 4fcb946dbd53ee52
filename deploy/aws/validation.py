"""Validation of requests against the service model: enums, patterns and limits.

botocore checks none of these, so AWS would reject the request in the middle of a plan.
The module also extracts the part of a description that can be sent as a request.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping
from typing import Any

__all__ = ["request_part", "violations"]

# Character classes of Java patterns, as Python writes them. The first two are complete
# patterns, because they would become ranges inside brackets.
CLASSES = (
    (r"\p{ASCII}*", r"[\x00-\x7f]*"),
    (r"\p{Print}+", r"[ -~]+"),
    (r"\p{L}", r"a-zA-ZÀ-ɏ"),
    (r"\p{M}", r""),
    (r"\p{Z}", r" "),
    (r"\p{S}", r"$+<=>^`|~"),
    (r"\p{N}", r"0-9"),
    (r"\p{P}", r"!-/:-@"),
    (r"\p{Print}", r" -~"),
    (r"\A", ""),
    (r"\z", ""),
)


def violations(shape: Any, value: Any, where: str = "") -> Iterator[str]:
    """Yield a sentence for each part of `value` that AWS would reject.

    `shape` is botocore's model of the value, whose types must be right already. A
    sentence begins with `where` and the path of the part, such as `.Tags[0].Key`.
    """
    kind, limits = shape.type_name, shape.metadata
    if kind == "structure":
        for name, item in value.items():
            if name not in shape.members:
                yield f"{where}.{name} does not exist"
            else:
                yield from violations(shape.members[name], item, f"{where}.{name}")
        for name in shape.required_members:
            if name not in value:
                yield f"{where}.{name} is required"
    elif kind == "list":
        yield from _limit_violations(limits, len(value), where)
        for number, item in enumerate(value):
            yield from violations(shape.member, item, f"{where}[{number}]")
    elif kind == "map":
        yield from _limit_violations(limits, len(value), where)
        for key, item in value.items():
            yield from violations(shape.key, key, f"{where} key {key}")
            yield from violations(shape.value, item, f"{where}.{key}")
    elif kind == "string":
        yield from _string_violations(limits, value, where)
    elif kind in ("integer", "long", "float", "double"):
        yield from _limit_violations(limits, value, where)


def request_part(shape: Any, value: Any) -> Any:
    """Return the part of a description that is valid in a request of this shape.

    Members that `shape` does not have are dropped, and so are members with an empty or
    null value: this is how a description shows a setting that is not set. Returns None
    for a structure that is not a mapping.
    """
    if shape.type_name == "structure":
        if not isinstance(value, Mapping):
            return None
        return {
            name: part
            for name, item in value.items()
            if name in shape.members
            and (part := request_part(shape.members[name], item))
            not in (None, "", [], {})
        }
    if shape.type_name == "list":
        return [request_part(shape.member, item) for item in value or ()]
    if shape.type_name == "map":
        return dict(value or {})
    return value


def _string_violations(limits: Any, value: str, where: str) -> Iterator[str]:
    if "enum" in limits and value not in limits["enum"]:
        close = difflib.get_close_matches(value, limits["enum"], n=1)
        yield f"{where}: {value} is not a value that boto3 knows" + (
            f"; did you mean {close[0]}?" if close else ""
        )
    yield from _limit_violations(limits, len(value), where)
    pattern = _compile_pattern(limits.get("pattern"))
    if pattern is not None and pattern.fullmatch(value) is None:
        yield f"{where}: {value} does not match {limits['pattern']}"


def _limit_violations(limits: Any, size: float, where: str) -> Iterator[str]:
    if "max" in limits and size > limits["max"]:
        yield f"{where}: {size} is above {limits['max']}"
    if "min" in limits and size < limits["min"]:
        yield f"{where}: {size} is below {limits['min']}"


def _compile_pattern(pattern: str | None) -> re.Pattern[str] | None:
    """Return a pattern of AWS compiled; None if Python cannot compile it."""
    if pattern is None:
        return None
    for java, python in CLASSES:
        pattern = pattern.replace(java, python)
    try:
        return re.compile(pattern, re.DOTALL)
    except re.error:
        return None

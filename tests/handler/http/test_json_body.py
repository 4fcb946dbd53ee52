"""JSON bodies, parsed member by member and compared with `json.loads`."""

from __future__ import annotations

import json
import tracemalloc

import pytest
from hypothesis import example, given, strategies as st

from handler.errors import InvalidOptionError, RequestError
from handler.http.json_body import MAX_MEMBERS, LongText, parse_members
from handler.http.options import MAX_OPTION_BYTES

MEGABYTE = 10**6
INVALID = "invalid"
NO_OBJECT = "no object"


def parse_or_marker(body: bytes | bytearray):
    """Return the members with long texts as strings, or INVALID or NO_OBJECT."""
    try:
        parsed = parse_members(body, ["document"])
    except (ValueError, RecursionError):
        return INVALID
    except RequestError as error:
        if "must be an object" in error.detail:
            return NO_OBJECT
        raise
    return {
        name: join_pieces(value) if isinstance(value, LongText) else value
        for name, value in parsed.items()
    }


def join_pieces(text: LongText) -> str:
    """Return a long text as a string, with surrogate pairs joined that were split."""
    joined = "".join(text.pieces())
    return joined.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")


def load_or_marker(body: bytes | bytearray):
    """Parse with `json.loads`; return the object, or INVALID or NO_OBJECT."""
    try:
        parsed = json.loads(body)
    except (ValueError, RecursionError):
        return INVALID
    return parsed if isinstance(parsed, dict) else NO_OBJECT


def is_parsed_like_json_loads(body: bytes | bytearray) -> bool:
    """Compare the outcome with that of `json.loads`, which includes the markers.

    The comparison uses repr, because NaN differs from itself.
    """
    return repr(parse_or_marker(body)) == repr(load_or_marker(body))


SPACE = st.text(" \t\r\n", max_size=2)
NAME = st.sampled_from(["document", "pages", ""]) | st.text(max_size=5)
LITERAL = st.sampled_from(
    [
        "null",
        "true",
        "false",
        "NaN",
        "Infinity",
        "-Infinity",
        "1e400",
        "-0",
        "1E5",
        "07",
    ]
)
SCALAR = (
    st.builds(json.dumps, st.text(max_size=8), ensure_ascii=st.booleans())
    | st.builds(json.dumps, st.integers() | st.floats())
    | LITERAL
)
ESCAPED = st.sampled_from([r'"\/"', r'"\ud83d\ude00"', r'"\ud800"', r'"\"\\"', '"\\x"'])


def join_members(items: list[str], ends: str, space: str) -> str:
    return ends[0] + space + f"{space},{space}".join(items) + space + ends[1]


def format_object(pairs: list[tuple[str, str]], space: str) -> str:
    items = [f"{json.dumps(name)}{space}:{space}{value}" for name, value in pairs]
    return join_members(items, "{}", space)


def objects(value: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    pairs = st.lists(st.tuples(NAME, value), max_size=4)
    return st.builds(format_object, pairs, SPACE)


VALUE = st.recursive(
    SCALAR | ESCAPED,
    lambda inner: (
        objects(inner)
        | st.builds(join_members, st.lists(inner, max_size=3), st.just("[]"), SPACE)
    ),
    max_leaves=6,
)
BODY = st.builds(
    lambda before, text, after: (before + text + after).encode(
        "utf-8", "surrogatepass"
    ),
    SPACE,
    objects(VALUE) | VALUE,
    SPACE,
)


@given(BODY)
@example(b'{"document": 1, "document": "x", "document": null}')
@example(b"{}")
@example(b'{"a": 1,}')
@example(b'{"a": 1} {"a": 2}')
@example(b"")
def test_json_is_parsed_like_json_loads(body):
    assert is_parsed_like_json_loads(body)
    assert is_parsed_like_json_loads(bytearray(body))


@given(BODY, st.data())
def test_damaged_json_is_handled_like_json_loads(body, data):
    at = data.draw(st.integers(0, len(body)))
    end = data.draw(st.integers(at, min(at + 3, len(body))))
    insert = data.draw(
        st.sampled_from([*rb'{}[]:,"\ue1-.']).map(lambda code: bytes([code]))
        | st.binary(max_size=2)
    )

    assert is_parsed_like_json_loads(body[:at] + insert + body[end:])


@pytest.mark.parametrize(
    "encoding",
    [
        "utf-8-sig",
        "utf-16",
        "utf-16-le",
        "utf-16-be",
        "utf-32",
        "utf-32-le",
        "utf-32-be",
    ],
)
def test_a_body_may_be_in_each_encoding_of_json(encoding):
    body = '{"document": "é\U0001f600", "pages": "1"}'.encode(encoding)

    assert parse_or_marker(body) == {"document": "é\U0001f600", "pages": "1"}


def test_a_large_body_must_be_utf_8():
    body = ('{"document": "' + "A" * MEGABYTE + '"}').encode("utf-16")

    with pytest.raises(RequestError, match="must be UTF-8, not UTF-16"):
        parse_members(body, ["document"])


# Long text

TOKENS = [
    "A",
    " ",
    "/",
    r"\/",
    r"\\",
    r"\"",
    r"\n",
    r"\u0041",
    r"\ud83d\ude00",
    "é",
    "\U0001f600",
]


@given(
    st.integers(0, 20),
    st.lists(st.sampled_from(TOKENS), min_size=1, max_size=6).map("".join),
)
def test_long_text_does_not_depend_on_its_pieces(num_before, unit):
    text = "A" * num_before + unit * (300_000 // len(unit))
    body = ('{"document": "' + text + '", "pages": "1"}').encode()

    assert isinstance(parse_members(body, ["document"])["document"], LongText)
    assert parse_or_marker(body) == json.loads(body)


@pytest.mark.parametrize(
    "damage",
    [b"\n", b"\x00", b"\xff", b"\xc3", b"\xed", b"\\x", b"\\u00x", b'"', b"\\"],
)
@pytest.mark.parametrize("num_before", [9_000, 262_140, 262_143, 262_144, 400_000])
def test_damage_in_long_text_is_found(num_before, damage):
    text = b"A" * num_before + damage

    assert parse_or_marker(b'{"document": "' + text + b'AAAA"}') == INVALID
    assert parse_or_marker(b'{"document": "' + text) == INVALID
    # This holds too for a member that a later one of the same name replaces.
    assert (
        parse_or_marker(b'{"document": "' + text + b'AAAA", "document": "A"}')
        == INVALID
    )


# Limits


@pytest.mark.parametrize("num_bytes", [MAX_OPTION_BYTES, MAX_OPTION_BYTES + 1])
@pytest.mark.parametrize(
    "value",
    [
        lambda size: b'"' + b"x" * (size - 2) + b'"',
        lambda size: b'"' + b"\xc3\xa9" * (size // 2 - 1) + b"x" * (size % 2) + b'"',
        lambda size: b"1." + b"0" * (size - 2),
        lambda size: b"[" + b" " * (size - 2) + b"]",
        lambda size: b'{"a":"' + b"x" * (size - 8) + b'"}',
        lambda size: b"[" + b"1," * (size // 2 - 2) + b" " * (size % 2) + b"10]",
    ],
    ids=["text", "not ascii", "number", "blanks", "object", "list"],
)
def test_a_value_above_the_limit_is_refused(value, num_bytes):
    for tail in (b"}", b', "b": 1}', b" " * 20_000 + b"}"):
        body = b'{"a": ' + value(num_bytes) + tail
        if num_bytes <= MAX_OPTION_BYTES:
            assert is_parsed_like_json_loads(body)
        else:
            with pytest.raises(InvalidOptionError, match='"a" has more than 8,192'):
                parse_or_marker(body)


def test_a_name_above_the_limit_is_refused():
    with pytest.raises(InvalidOptionError, match="name of an option has more than"):
        parse_or_marker(b'{"' + b"x" * MAX_OPTION_BYTES + b'": 1}')


def test_an_error_before_the_limit_is_invalid_json():
    assert parse_or_marker(b'{"a": [1, x' + b"1," * 10_000 + b"1]}") == INVALID
    assert parse_or_marker(b'{"a": "\n' + b"x" * 10_000 + b'"}') == INVALID


def test_an_object_has_at_most_64_members():
    pairs = [b'"%d": 1' % number for number in range(MAX_MEMBERS)]

    assert len(parse_or_marker(b"{" + b",".join(pairs) + b"}")) == MAX_MEMBERS
    with pytest.raises(RequestError, match="more than 64 members"):
        parse_members(b"{" + b",".join([*pairs, b'"x": 1']) + b"}", [])


BOMBS = {
    "nesting": lambda size: b"[" * size,
    "lists": lambda size: b'{"x":[' + b"[]," * (size // 3) + b'[]],"document":""}',
    "objects": lambda size: b'{"x":[' + b"{}," * (size // 3) + b'[]],"document":""}',
    "members": lambda size: (
        b"{" + b",".join(b'"%d":1' % n for n in range(size // 12)) + b"}"
    ),
    "name": lambda size: b'{"' + b"pqxy" * (size // 4) + b'":1}',
    "value": lambda size: b'{"pages":"' + b"1," * (size // 2) + b'1"}',
    "digits": lambda size: b'{"deadline_seconds":1.' + b"0" * size + b"1}",
    "s3_uri": lambda size: b'{"s3_uri":"s3://scans/' + b"a" * size + b'"}',
    "text": lambda size: b'"' + b"a" * size + b'"',
}


@pytest.mark.parametrize("bomb", BOMBS.values(), ids=BOMBS)
def test_json_bomb_is_refused_in_little_memory(bomb):
    body = bytearray(bomb(20 * MEGABYTE))
    tracemalloc.start()

    with pytest.raises((ValueError, RequestError)):
        parse_members(body, ["document"])

    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < MEGABYTE


@pytest.mark.parametrize(
    "unit", [b"AAAA", b"AA ", rb"\/", rb"\u0041", "\u3000".encode()]
)
def test_long_text_is_read_in_little_memory(unit):
    body = bytearray(b'{"document":"' + unit * (20 * MEGABYTE // len(unit)) + b'"}')
    tracemalloc.start()

    for _ in parse_members(body, ["document"])["document"].pieces():
        pass

    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 * MEGABYTE

"""Agreement of handler/openapi.yaml with the code, and tests of `check`."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import openapi_spec_validator
import pytest

import handler
from handler import postprocess, preprocess
from handler.engine import FinishReason
from handler.errors import (
    ClientGoneError,
    HandlerError,
    InvalidOptionError,
    ModelLoadError,
    OverloadedError,
)
from handler.http.options import PROMPT_TYPES, SECRET_OPTIONS, parse_options
from handler.http.reply import problem_reply
from handler.http.request import CUSTOM_ATTRIBUTES, FORM_KEYS
from handler.postprocess.blocks.layout import LABELS, UNLABELLED
from handler.schema import (
    Block,
    DocumentResult,
    ModelInfo,
    Options,
    PageContent,
    PageError,
    PageResult,
    PageWarning,
    Status,
)
from tests.openapi import (
    check_reply,
    find_operation,
    find_response,
    read_specification,
    resolve,
    validate,
)

SCHEMAS = read_specification()["components"]["schemas"]
JSON, NDJSON = "application/json", "application/x-ndjson"
PROBLEM = "application/problem+json"
FRONTEND_CODE = "forbidden"
"""Error code of frontend/, which it returns on the path of documents too."""

READ_PAGE = PageResult(
    page=1,
    status=Status.SUCCESS,
    width=768,
    height=1024,
    content=PageContent(
        blocks=(
            Block("Section-Header", (10, 20, 300, 60), "<h1>Title</h1>"),
            Block("Text", None, "<p>Words</p>"),
        ),
        html='<div class="block" data-label="Text"><p>Words</p></div>',
        markdown="# Title\n\nWords",
        text="Title\n\nWords",
        figures={"page-1-figure-1.webp": (0, 0, 9, 9)},
        warnings=(PageWarning("truncated", "the model was stopped"),),
    ),
    images={"page-1-figure-1.webp": "UklGRg=="},
    raw="<h1>Title</h1><p>Words</p>",
    finish_reason="length",
    attempts=2,
    output_tokens=12,
)
UNDECODED_PAGE = PageResult(
    page=2,
    status=Status.FAILURE,
    error=PageError("unreadable_document", "page 2 cannot be read"),
)
UNREAD_PAGE = PageResult(
    page=3,
    status=Status.FAILURE,
    width=768,
    height=1024,
    attempts=1,
    error=PageError("engine_failed", "the engine process ended, twice"),
)
DOCUMENT = DocumentResult(
    request_id="5d495c4d",
    model=ModelInfo("datalab-to/chandra", None, "generate"),
    pages=(READ_PAGE, UNDECODED_PAGE, UNREAD_PAGE),
    processing_time=1.25,
    num_pages=3,
)


def list_error_classes() -> list[type[HandlerError]]:
    """Return every error class whose code a caller can get."""

    def iterate_subclasses(cls: type[HandlerError]) -> Iterator[type[HandlerError]]:
        yield cls
        for child in cls.__subclasses__():
            yield from iterate_subclasses(child)

    # These errors occur before the first caller or after the last one.
    never_sent = (ModelLoadError, ClientGoneError)
    return [cls for cls in iterate_subclasses(HandlerError) if cls not in never_sent]


def find_object_schemas(
    value: Any, name: str
) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield every schema of an object below `value`, with its position."""
    if isinstance(value, dict):
        if value.get("type") == "object":
            yield name, value
        for key, inner in value.items():
            yield from find_object_schemas(inner, f"{name}/{key}")


def find_examples() -> Iterator[Any]:
    """Yield every example of a body, with its schema."""
    body = resolve(find_operation()["requestBody"])["content"]
    contents = [
        body,
        *(find_response(int(s))["content"] for s in find_operation()["responses"]),
    ]
    for content in contents:
        for media_type, described in content.items():
            values = [e["value"] for e in described.get("examples", {}).values()]
            values += [described["example"]] if "example" in described else []
            for value in values:
                yield pytest.param(value, described["schema"], id=media_type)


# The file against the code


def test_the_file_is_a_valid_openapi_document():
    openapi_spec_validator.validate(read_specification())


def test_the_file_has_the_version_of_the_code():
    assert read_specification()["info"]["version"] == handler.__version__


def test_both_paths_share_one_operation():
    paths = read_specification()["paths"]

    assert list(paths) == ["/predictions/chandra", "/invocations"]
    assert paths["/predictions/chandra"]["post"] == paths["/invocations"]["post"]


@pytest.mark.parametrize(("value", "schema"), list(find_examples()))
def test_every_example_matches_its_schema(value, schema):
    validate(value, schema)


def test_objects_refuse_additional_fields():
    open_objects = {
        name.removeprefix("/")
        for name, schema in find_object_schemas(SCHEMAS, "")
        if not (
            schema.get("additionalProperties") is False
            or schema.get("unevaluatedProperties") is False
        )
    }

    # These are parts of other schemas, which reject additional properties.
    assert open_objects == {"OptionFields", "PageFields", "ProblemFields"}


def test_options_match_the_code():
    described = SCHEMAS["OptionFields"]["properties"]

    assert list(described) == [field.name for field in dataclasses.fields(Options)]
    # The error of the parser lists all options.
    with pytest.raises(InvalidOptionError) as refusal:
        parse_options({"0": 0})
    options_in_error = refusal.value.detail.partition("known: ")[2].split(", ")
    assert list(described) == options_in_error


def test_options_without_secrets_are_query_parameters():
    parameters = map(
        resolve, read_specification()["paths"]["/invocations"]["parameters"]
    )

    described = {parameter["name"]: parameter["schema"] for parameter in parameters}
    # Secrets are excluded, because servers and proxies log URLs.
    assert [*described, *SECRET_OPTIONS] == list(SCHEMAS["OptionFields"]["properties"])
    for name, schema in described.items():
        assert resolve(schema) is SCHEMAS["OptionFields"]["properties"][name]


@pytest.mark.parametrize("field", dataclasses.fields(Options), ids=lambda f: f.name)
def test_the_defaults_are_those_of_the_code(field):
    described = SCHEMAS["OptionFields"]["properties"][field.name]

    assert described.get("default") == field.default


def test_the_prompt_types_are_those_of_the_code():
    described = SCHEMAS["OptionFields"]["properties"]["prompt_type"]["enum"]

    assert described == list(PROMPT_TYPES)


def test_the_header_with_options_has_the_name_the_code_reads():
    (header,) = map(resolve, find_operation()["parameters"])

    assert header["name"] == CUSTOM_ATTRIBUTES
    assert parse_options(
        dict(item.split("=") for item in header["example"].split(";"))
    ) == Options(pages="1-3", prompt_type="ocr")


def test_names_of_form_parts_match_the_code():
    assert tuple(SCHEMAS["FormBody"]["properties"]) == FORM_KEYS


def test_request_media_types_match_the_code():
    described = set(resolve(find_operation()["requestBody"])["content"])

    wrappers = {"application/octet-stream", JSON, "multipart/form-data"}
    assert described == set(preprocess.MEDIA_TYPES) | wrappers


def test_reply_media_types_match_the_code():
    assert tuple(find_response(200)["content"]) == postprocess.ACCEPTED


def test_error_codes_and_statuses_match_the_code():
    described = set()
    for status in find_operation()["responses"]:
        content = find_response(int(status))["content"]
        if PROBLEM in content:
            narrowed = content[PROBLEM]["schema"]["properties"]
            assert narrowed["status"]["const"] == int(status)
            described |= {(int(status), code) for code in narrowed["code"]["enum"]}

    codes_of_handler = {(cls.status, cls.code) for cls in list_error_classes()}
    assert described == codes_of_handler | {(403, FRONTEND_CODE)}


def test_page_error_codes_match_the_code():
    codes_of_handler = {cls.code for cls in list_error_classes()}
    assert set(SCHEMAS["ErrorCode"]["enum"]) == codes_of_handler | {FRONTEND_CODE}


def test_statuses_of_problems_match_the_code():
    described = set(SCHEMAS["ProblemFields"]["properties"]["status"]["enum"])

    assert described == {cls.status for cls in list_error_classes()}
    assert {str(status) for status in described} | {"200"} == set(
        find_operation()["responses"]
    )


def test_warning_codes_match_the_code():
    code = re.compile(r'PageWarning\(\s*"(\w+)"')
    files = Path(handler.__file__).parent.rglob("*.py")
    codes = {name for file in files for name in code.findall(file.read_text())}

    assert set(SCHEMAS["PageWarning"]["properties"]["code"]["enum"]) == codes


def test_block_labels_match_the_code():
    described = SCHEMAS["Block"]["properties"]["label"]["examples"]

    assert described == [*LABELS, UNLABELLED]


def test_finish_reasons_match_the_code():
    described = set(SCHEMAS["PageFields"]["properties"]["finish_reason"]["enum"])

    # A failed page has an error instead, and an aborted one has no reader.
    reasons_of_pages = {str(r) for r in FinishReason} - {
        FinishReason.ERROR,
        FinishReason.ABORTED,
    }
    assert described == reasons_of_pages | {None}


# Answers against the file


@pytest.mark.parametrize("media_type", postprocess.ACCEPTED)
def test_a_document_is_accepted_in_every_type(media_type):
    check_reply(200, media_type, postprocess.render(DOCUMENT, media_type))


def test_the_type_may_have_parameters():
    check_reply(
        200, "application/json; charset=utf-8", postprocess.render(DOCUMENT, JSON)
    )


@pytest.mark.parametrize("cls", list_error_classes(), ids=lambda cls: cls.code)
def test_a_problem_is_accepted(cls):
    reply = problem_reply(cls("what happened"), "5d495c4d")

    check_reply(reply.status, reply.media_type, reply.body)


def test_a_stream_may_end_with_an_error():
    line = postprocess.page_line(READ_PAGE, "5d495c4d")
    body = problem_reply(HandlerError(), "5d495c4d").body
    end = b'{"event": "error", ' + body[1:] + b"\n"

    check_reply(200, NDJSON, line + end)


def test_a_stream_that_was_cut_off_is_refused():
    with pytest.raises(AssertionError, match="no end line"):
        check_reply(200, NDJSON, postprocess.page_line(READ_PAGE, "5d495c4d"))


def test_end_line_before_the_last_line_is_refused():
    end = postprocess.end_line(DOCUMENT)

    with pytest.raises(AssertionError, match="before the last"):
        check_reply(200, NDJSON, end + end)


@pytest.mark.parametrize(
    "place",
    [
        (),
        ("model",),
        ("usage",),
        ("pages", 0),
        ("pages", 0, "blocks", 1),
        ("pages", 0, "warnings", 0),
        ("pages", 1, "error"),
    ],
    ids=str,
)
def test_a_missing_or_additional_field_is_refused(place):
    for change in ("additional", "missing"):
        document = json.loads(postprocess.render(DOCUMENT, JSON))
        target = document
        for step in place:
            target = target[step]
        if change == "additional":
            target["extra"] = 1
        else:
            target.popitem()

        with pytest.raises(AssertionError, match=r"extra|required"):
            check_reply(200, JSON, json.dumps(document).encode())


@pytest.mark.parametrize("line", [0, 3])
def test_a_missing_or_additional_field_of_a_line_is_refused(line):
    for change in ("additional", "missing"):
        lines = postprocess.render(DOCUMENT, NDJSON).splitlines(keepends=True)
        parsed = json.loads(lines[line])
        if change == "additional":
            parsed["extra"] = 1
        else:
            parsed.popitem()
        lines[line] = json.dumps(parsed).encode() + b"\n"

        with pytest.raises(AssertionError, match=r"extra|required"):
            check_reply(200, NDJSON, b"".join(lines))


def test_a_missing_or_additional_field_of_a_problem_is_refused():
    body = json.loads(problem_reply(OverloadedError(), "5d495c4d").body)

    with pytest.raises(AssertionError, match="extra"):
        check_reply(503, PROBLEM, json.dumps({**body, "extra": 1}).encode())
    del body["code"]
    with pytest.raises(AssertionError, match="'code' is a required property"):
        check_reply(503, PROBLEM, json.dumps(body).encode())


def test_a_code_of_another_status_is_refused():
    reply = problem_reply(OverloadedError(), "5d495c4d")

    with pytest.raises(AssertionError, match="overloaded"):
        check_reply(500, reply.media_type, reply.body)


def test_a_status_or_a_type_that_is_not_described_is_refused():
    with pytest.raises(AssertionError, match="418"):
        check_reply(418, JSON, b"{}")
    with pytest.raises(AssertionError, match="text/csv"):
        check_reply(200, "text/csv", b"")


def test_a_box_of_three_numbers_is_refused():
    document = json.loads(postprocess.render(DOCUMENT, JSON))
    document["pages"][0]["blocks"][0]["bbox"].pop()

    with pytest.raises(AssertionError, match=r"pages\[0\]\.blocks\[0\]\.bbox"):
        check_reply(200, JSON, json.dumps(document).encode())

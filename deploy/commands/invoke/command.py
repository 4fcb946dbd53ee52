"""Command `invoke`: read one document through the endpoint."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from deploy.aws.runtime import MAX_BODY_BYTES, Runtime
from deploy.commands.command import Command
from deploy.commands.invoke.output import Output, refuse_unwritable
from deploy.commands.invoke.streaming import PageBuffer, check_page, event_from
from deploy.commands.request_options import add_request_options, request_options
from deploy.context import Context
from deploy.documents.options import (
    MAX_HEADER,
    check_options,
    find_highest_page,
    format_attributes,
)
from deploy.documents.rejection import NO_DOCUMENT, UNSUPPORTED, detect_supported_type
from deploy.documents.signatures import PDF
from deploy.errors import (
    ConfigError,
    DeployError,
    DocumentError,
    Interrupted,
    NotFoundError,
    ResourceFailedError,
)
from deploy.results.formats import MEDIA_TYPES
from deploy.results.pages import num_pages_of, render_pages
from deploy.results.report import report_of

# SageMaker ends a stream after 8 minutes; the difference is for the network. Without a
# deadline in the request, the service assumes the 60 s of other responses.
STREAM_DEADLINE = 470

ACCEPT = {n: MEDIA_TYPES[n] for n in ("md", "html", "json", "ndjson", "report")}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=Path, metavar="FILE", help="a PDF or an image")
    parser.add_argument("--pages", metavar="1-3,7", help="pages to read (default: all)")
    parser.add_argument(
        "--format",
        choices=tuple(ACCEPT),
        default="md",
        help="format of the result (default md); report is one HTML file that shows "
        "each page with its blocks beside the text",
    )
    parser.add_argument(
        "--stream",
        action="store_true",
        help="write each page as soon as it is read; allows 8 minutes instead of 60 s",
    )
    add_request_options(parser)
    parser.add_argument(
        "--password-env",
        metavar="NAME",
        help="environment variable with the password of an encrypted PDF",
    )
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        metavar="FILE",
        help="output file (default: the terminal)",
    )


def run(context: Context, options: argparse.Namespace) -> int:
    if options.stream and options.format == "html":
        raise ConfigError(
            "--stream gives md, json, ndjson or report, not html",
            hint="chandra-sagemaker invoke FILE --stream --format report -o FILE.html",
        )
    if options.stream and options.paginate:
        raise ConfigError(
            "--stream writes pages as they come, without the lines of --paginate",
            hint="chandra-sagemaker invoke FILE --paginate, without --stream",
        )
    attributes = _build_attributes(options)
    password = _read_password(options.password_env)
    body = _read_document(options.file)
    media_type = _detect_media_type(options.file)
    _refuse_absent_pages(options.file, media_type, options.pages, password)
    if options.output is not None:
        refuse_unwritable(options.output)
    runtime = Runtime(context.aws, context.config.name)
    request: dict[str, str] = {
        "content_type": media_type,
        "attributes": _add_password(attributes, password and "***"),
    }
    if context.is_dry_run:
        context.console.print_result(
            {"endpoint": context.config.name, "bytes": len(body), **request},
            [
                f"would send {len(body):,} bytes of {request['content_type']} to "
                f"endpoint {context.config.name}"
            ],
        )
        return 0
    request["attributes"] = _add_password(attributes, password)
    output = Output(context, options)
    try:
        if options.stream:
            lines = runtime.stream(body, accept=ACCEPT["ndjson"], **request)
            content = _write_stream(context, options, lines, output)
        else:
            answer = runtime.invoke(body, accept=ACCEPT[options.format], **request)
            content = _finish_response(
                context, options, answer.decode(errors="replace")
            )
    except KeyboardInterrupt:
        raise Interrupted(
            f"endpoint {context.config.name} may continue to read the document; "
            + output.progress_sentence
        ) from None
    except DeployError:
        if output.num_written:
            context.console.warn(output.progress_sentence)
        raise
    output.finish(content)
    return 0


def _finish_response(
    context: Context, options: argparse.Namespace, content: str
) -> str:
    """Return the text to write; print warnings if the format contains them."""
    if options.format not in ("json", "report"):
        return content
    document = _parse_document(content)
    _print_warnings(context, document)
    if options.format == "report":
        return _render_report(context, options, document)
    return content


def _read_document(path: Path) -> bytes:
    """Read a file; raises NotFoundError or ConfigError if it cannot be sent."""
    try:
        body = path.read_bytes()
    except OSError as error:
        raise NotFoundError(
            f"{path} cannot be read: {error.strerror}",
            hint="chandra-sagemaker invoke FILE, with the path of a PDF or an image",
        ) from error
    if not body:
        raise ConfigError(
            f"{path} is empty",
            hint="chandra-sagemaker invoke FILE, with a file that is not empty",
        )
    if len(body) > MAX_BODY_BYTES:
        raise ConfigError(
            f"{path} has {len(body) / 1e6:.1f} MB, and SageMaker accepts 25 MB",
            hint="split it, or send its pages as images",
        )
    return body


def _detect_media_type(path: Path) -> str:
    """Return the type of a document by its bytes; raises DocumentError."""
    media_type = detect_supported_type(path)
    if media_type is None:
        raise DocumentError(
            f"{path}: {NO_DOCUMENT} ({UNSUPPORTED})",
            code=UNSUPPORTED,
            hint="convert it, then chandra-sagemaker invoke with the PDF or the image",
        )
    return media_type


def _build_attributes(options: argparse.Namespace) -> str:
    """Return the request options as a header; raises ConfigError if it is too long."""
    request_fields: dict[str, Any] = {
        "pages": options.pages,
        **request_options(options),
    }
    if options.format == "report":
        request_fields["include_images"] = True
    if options.stream:
        request_fields["deadline_seconds"] = STREAM_DEADLINE
    attributes = format_attributes(check_options(request_fields))
    if len(attributes) > MAX_HEADER:
        raise ConfigError(
            f"the options have {len(attributes):,} characters, and SageMaker accepts "
            f"{MAX_HEADER:,} with a document",
            hint="a shorter prompt, or chandra-sagemaker async submit FILE",
        )
    return attributes


def _read_password(name: str | None) -> str | None:
    """Return the password in an environment variable; None without a name.

    A variable keeps it off the command line. Raises ConfigError if the variable is
    missing or empty, or the request header cannot carry the password.
    """
    if name is None:
        return None
    password = os.environ.get(name)
    if not password:
        raise ConfigError(
            f"--password-env: there is no environment variable {name}, or it is empty",
            hint=f"read -rs {name} && export {name}",
        )
    if ";" in password or password != password.strip() or not _is_printable(password):
        raise ConfigError(
            "--password-env: the request header cannot carry a password with a "
            "semicolon, a blank at either end or non-ASCII characters",
            hint="qpdf --decrypt, and send the result",
        )
    return password


def _is_printable(text: str) -> bool:
    return text.isascii() and text.isprintable()


def _add_password(attributes: str, password: str | None) -> str:
    if password is None:
        return attributes
    return ";".join(filter(None, (attributes, f"password={password}")))


def _refuse_absent_pages(
    path: Path, media_type: str, pages: str | None, password: str | None
) -> None:
    """Raise ConfigError if --pages names a page that a PDF does not have."""
    if pages is None or media_type != PDF:
        return
    num_pages, last = num_pages_of(path, password), find_highest_page(pages)
    if num_pages is not None and last > num_pages:
        raise ConfigError(
            f"--pages: there is no page {last} in {path}, which ends with {num_pages}",
            hint=f"--pages 1-{num_pages}",
        )


def _write_stream(
    context: Context,
    options: argparse.Namespace,
    lines: Iterator[bytes],
    output: Output,
) -> str:
    """Read a stream, and return the text to write at its end.

    A live output, which is the terminal or a file, gets each page as it arrives:
    Markdown in the order of pages, NDJSON as received. Raises ResourceFailedError if
    the stream contains an error, or ends early.
    """
    raw_lines: list[str] = []
    pages: list[dict[str, Any]] = []
    buffer = PageBuffer(options.pages)
    end: dict[str, Any] | None = None
    try:
        for line in lines:
            event = event_from(line)
            kind = event["event"]
            raw = line.decode(errors="replace") + "\n"
            if output.is_live and kind == "page":
                pages_to_write = (
                    buffer.add(int(event["page"]), _markdown(event))
                    if options.format == "md"
                    else [raw]
                )
                for text in pages_to_write:
                    output.write_page(text)
            else:
                # These lines are no page, or the output is not live.
                raw_lines.append(raw)
            if kind == "page":
                pages.append(event)
                context.console.warn(f"page {event['page']}: {event['status']}")
            elif kind == "error":
                raise ResourceFailedError(
                    f"{event.get('detail')} ({event.get('code')})",
                    hint="chandra-sagemaker logs --errors",
                )
            elif kind == "end":
                end = event
    finally:
        for text in buffer.drain():
            output.write_page(text)
    if end is None:
        raise ResourceFailedError(
            f"the stream ended after {len(pages)} pages, without its last line",
            hint="the same command with --pages from there on"
            if pages
            else "chandra-sagemaker logs --errors",
        )
    pages.sort(key=lambda page: int(page["page"]))
    document = {**end, "pages": pages}
    document.pop("event", None)
    _print_warnings(context, document)
    if options.format == "report":
        return _render_report(context, options, document)
    if options.format == "json":
        return json.dumps(document, indent=2, ensure_ascii=False) + "\n"
    if options.format == "ndjson":
        return "".join(raw_lines)
    return "" if output.is_live else "".join(map(_markdown, pages))


def _markdown(page: dict[str, Any]) -> str:
    return f"{page['markdown']}\n\n"


def _parse_document(content: str) -> dict[str, Any]:
    """Parse a JSON document; raises ResourceFailedError if it is not valid."""
    try:
        document = json.loads(content)
        for page in document["pages"]:
            check_page(page)
    except (ValueError, KeyError, TypeError) as error:
        raise ResourceFailedError(
            f"the container did not return a valid document: {content[:200].strip()}",
            hint="chandra-sagemaker status shows which image runs",
        ) from error
    return dict(document)


def _render_report(
    context: Context, options: argparse.Namespace, document: dict[str, Any]
) -> str:
    path, password = options.file, _read_password(options.password_env)
    numbers = [int(page["page"]) for page in document["pages"]]
    try:
        pictures = render_pages(path, numbers, password)
    except ConfigError as error:
        # Without pictures, the report still shows the text, which was paid for.
        context.console.warn(f"{error.message}; the report shows the text alone")
        pictures = {}
    return report_of(path.name, document, pictures)


def _print_warnings(context: Context, document: dict[str, Any]) -> None:
    """Print the document's warnings and the pages that were not read, on stderr."""
    for warning in document.get("warnings") or ():
        context.console.warn(f"{warning['detail']} ({warning['code']})")
    for page in document["pages"]:
        if page.get("error"):
            error = page["error"]
            context.console.warn(
                f"page {page['page']} was not read: {error['detail']} ({error['code']})"
            )


COMMAND = Command(
    run=run,
    description="Send one document to the endpoint and write the result to the "
    "terminal or a file.",
    examples=(
        "invoke scan.pdf --pages 1-3",
        "invoke scan.pdf --format report -o scan.html",
    ),
    add_arguments=add_arguments,
)

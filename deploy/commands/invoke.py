"""Read one document through the endpoint."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from deploy.aws.runtime import MAX_BODY_BYTES, Runtime
from deploy.commands.context import Context
from deploy.documents import media_type_of
from deploy.errors import ConfigError, NotFoundError, ResourceFailedError
from deploy.pages import pictures_of
from deploy.report import report_of

NAME = "invoke"
HELP = "read one document: as Markdown, HTML, JSON, or a page to look at"

ACCEPT = {
    "md": "text/markdown",
    "html": "text/html",
    "json": "application/json",
    "ndjson": "application/x-ndjson",
    "report": "application/json",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=Path, metavar="FILE", help="a PDF or an image")
    parser.add_argument("--pages", metavar="1-3,7", help="only these")
    parser.add_argument(
        "--format",
        choices=tuple(ACCEPT),
        default="md",
        help="report is one HTML file that shows each page with its blocks beside the "
        "text (default md)",
    )
    parser.add_argument(
        "--stream",
        action="store_true",
        help="page by page as they are read, for up to 8 minutes",
    )
    parser.add_argument(
        "--max-output-tokens", type=int, metavar="N", help="of each page"
    )
    parser.add_argument(
        "-o", "--output", type=Path, metavar="FILE", help="in place of the terminal"
    )


def run(context: Context, options: argparse.Namespace) -> int:
    if options.stream and options.format == "html":
        raise ConfigError("--stream gives md, json, ndjson or report, not html")
    body = _read(options.file)
    runtime = Runtime(context.aws, context.config.name)
    request: dict[str, str] = {
        "content_type": media_type_of(options.file),
        "attributes": _attributes(options),
    }
    if context.is_dry_run:
        context.console.result(
            {"endpoint": context.config.name, "bytes": len(body), **request},
            [
                f"would send {len(body):,} bytes of {request['content_type']} to "
                f"endpoint {context.config.name}"
            ],
        )
        return 0
    if options.stream:
        lines = runtime.stream(body, accept=ACCEPT["ndjson"], **request)
        content = _streamed(context, options, lines)
    else:
        answer = runtime.invoke(body, accept=ACCEPT[options.format], **request)
        content = answer.decode(errors="replace")
        if options.format in ("json", "report"):
            document = _document(content)
            _warn(context, document)
            if options.format == "report":
                content = _report(options.file, document)
    _write(context, options, content)
    return 0


def _read(path: Path) -> bytes:
    try:
        body = path.read_bytes()
    except OSError as error:
        raise NotFoundError(f"{path} cannot be read: {error.strerror}") from error
    if len(body) > MAX_BODY_BYTES:
        raise ConfigError(
            f"{path} has {len(body) / 1e6:.1f} MB, and SageMaker takes 25 MB",
            hint="split it, or send its pages as images",
        )
    return body


def _attributes(options: argparse.Namespace) -> str:
    wanted = {
        "pages": options.pages,
        "max_output_tokens": options.max_output_tokens,
        "include_images": "true" if options.format == "report" else None,
    }
    text = ";".join(f"{name}={v}" for name, v in wanted.items() if v is not None)
    if not text.isascii() or any(c in text for c in "\r\n"):
        raise ConfigError(f"--pages looks like 1-3,7, not {options.pages}")
    return text


def _streamed(
    context: Context, options: argparse.Namespace, lines: Iterator[bytes]
) -> str:
    """What is left to write when the last line has come."""
    is_live = (
        options.output is None
        and options.format in ("md", "ndjson")
        and not context.console.as_json
    )
    written: list[str] = []
    pages: list[dict[str, Any]] = []
    end: dict[str, Any] | None = None
    for line in lines:
        event = json.loads(line)
        kind = event.get("event")
        text = ""
        if options.format == "ndjson":
            text = line.decode() + "\n"
        elif kind == "page" and options.format == "md":
            text = event["markdown"] + "\n\n"
        if is_live:
            context.console.write(text)
        else:
            written.append(text)
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
    if end is None:
        raise ResourceFailedError(
            f"the stream ended after {len(pages)} pages, without its last line",
            hint="the same command with --pages from there on",
        )
    document = {**end, "pages": sorted(pages, key=lambda page: int(page["page"]))}
    document.pop("event", None)
    _warn(context, document)
    if options.format == "report":
        return _report(options.file, document)
    if options.format == "json":
        return json.dumps(document, indent=2, ensure_ascii=False) + "\n"
    return "".join(written)


def _document(content: str) -> dict[str, Any]:
    try:
        document = json.loads(content)
        document["pages"]
    except (ValueError, KeyError, TypeError) as error:
        raise ResourceFailedError(
            f"the container's answer is no document: {content[:200].strip()}",
            hint="chandra-sagemaker status shows which image runs",
        ) from error
    return dict(document)


def _report(path: Path, document: dict[str, Any]) -> str:
    numbers = [int(page["page"]) for page in document["pages"]]
    return report_of(path.name, document, pictures_of(path, numbers))


def _warn(context: Context, document: dict[str, Any]) -> None:
    """A page's fault is the page's; it is said, and the others are there."""
    for page in document["pages"]:
        if page.get("error"):
            error = page["error"]
            context.console.warn(
                f"page {page['page']} was not read: {error['detail']} ({error['code']})"
            )


def _write(context: Context, options: argparse.Namespace, content: str) -> None:
    path: Path | None = options.output
    if path is None and context.console.as_json and options.format != "json":
        context.console.result({"format": options.format, "content": content})
    elif path is None:
        context.console.write(content)
    else:
        try:
            path.write_text(content, encoding="utf-8")
        except OSError as error:
            raise ConfigError(f"{path} cannot be written: {error.strerror}") from error
        context.console.result(
            {"format": options.format, "output": str(path)}, [f"wrote {path}"]
        )

"""Test that posts every file of a folder, and compares pages with other renderers.

It prints counts by status, the slowest files, the memory of the server's processes, and
pages that pdftoppm or ImageMagick render differently, if these are installed. The exit
status is 1 if the server lost a connection or answered with 5xx.
"""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

from bench.report import finish, say
from bench.soak.serving import run_server
from bench.sweep import report
from bench.sweep.files import choose_evenly, find_files
from bench.sweep.memory import MemoryWatch, find_server
from bench.sweep.pages import ComparedPage, PageComparer
from bench.sweep.post import DocumentPoster, PostOutcome
from bench.sweep.reference import Renderer, find_renderers
from handler.profiles import PROFILES
from server.status import ping

__all__ = ["main"]

PROGRESS_INTERVAL = 50
"""Number of files after which a progress line is printed."""


def main(
    arguments: Sequence[str] | None = None, renderers: Sequence[Renderer] | None = None
) -> int:
    """Test a folder and return the status; `renderers` replace the installed ones."""
    options = _parser().parse_args(arguments)
    files = choose_evenly(find_files(options.folder), options.limit)
    say(__doc__)
    outcomes: list[PostOutcome] = []
    watch = MemoryWatch(None)
    if options.post:
        with _address(options) as address:
            if ping(address) is None:
                say(f"no server answers at {address}: run make serve, or pass --serve")
                return 2
            client = DocumentPoster(
                address,
                {
                    "max_output_tokens": str(options.max_output_tokens),
                    "deadline_seconds": str(options.deadline),
                },
                declares_type=options.content_type == "extension",
                timeout_seconds=options.deadline + 30,
            )
            watch = MemoryWatch(find_server(urlsplit(address).port or 80))
            with watch:
                outcomes = _post_all(client, files, options.clients)
        report.print_outcomes(outcomes, options.folder)
        report.print_memory(watch.parts)
    compared: list[ComparedPage] = []
    if options.compare:
        chosen = find_renderers() if renderers is None else renderers
        if chosen:
            compared = _compare_all(chosen, files, options)
            report.print_differences(compared, options.folder, options.show)
        else:
            say("\nneither pdftoppm nor ImageMagick is installed: nothing is compared")
    if options.report:
        report.write_report(options.report, outcomes, compared, watch.parts)
    num_faults = sum(outcome.is_server_fault for outcome in outcomes)
    num_same = sum(
        page.difference is not None and page.difference.kind == "same"
        for page in compared
    )
    num_compared = sum(page.difference is not None for page in compared)
    say()
    finish(
        "sweep",
        {
            "faults": num_faults / max(1, len(outcomes)),
            "same": num_same / max(1, num_compared),
        },
        **report.summarize(outcomes, compared, watch.parts),
    )
    return int(num_faults > 0)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m bench.sweep", description=__doc__.splitlines()[0]
    )
    parser.add_argument("folder", type=Path, help="folder of documents")
    parser.add_argument(
        "--address",
        default="http://127.0.0.1:8080",
        help="URL of the server (default http://127.0.0.1:8080)",
    )
    parser.add_argument(
        "--serve", action="store_true", help="start a server, and stop it at the end"
    )
    parser.add_argument(
        "--no-post", dest="post", action="store_false", help="only compare pages"
    )
    parser.add_argument(
        "--no-compare", dest="compare", action="store_false", help="only post"
    )
    parser.add_argument(
        "--clients", type=int, default=2, help="concurrent requests (default 2)"
    )
    parser.add_argument(
        "--limit", type=int, help="maximum number of files, spread evenly"
    )
    parser.add_argument(
        "--max-output-tokens",
        type=int,
        default=1,
        help="tokens per page (default 1)",
    )
    parser.add_argument(
        "--deadline",
        type=float,
        default=120,
        help="seconds per file (default 120)",
    )
    parser.add_argument(
        "--content-type",
        choices=("extension", "none"),
        default="extension",
        help="`none` sends application/octet-stream (default extension)",
    )
    parser.add_argument(
        "--pages", type=int, default=3, help="compared pages per file (default 3)"
    )
    parser.add_argument(
        "--profile",
        choices=PROFILES,
        default="mini",
        help="page sizes to compare (default mini)",
    )
    parser.add_argument(
        "--show", type=int, default=40, help="printed differences (default 40)"
    )
    parser.add_argument(
        "--report", type=Path, help="write all results into this JSON file"
    )
    return parser


@contextlib.contextmanager
def _address(options: argparse.Namespace) -> Iterator[str]:
    if not options.serve:
        yield options.address.rstrip("/")
        return
    with run_server() as server:
        yield server.address


def _post_all(
    client: DocumentPoster, files: Sequence[Path], num_clients: int
) -> list[PostOutcome]:
    outcomes = []
    with ThreadPoolExecutor(num_clients) as threads:
        for number, outcome in enumerate(threads.map(client.post, files), start=1):
            outcomes.append(outcome)
            if number % PROGRESS_INTERVAL == 0:
                say(f"{number:6} of {len(files)} posted")
    say()
    return outcomes


def _compare_all(
    renderers: Sequence[Renderer], files: Sequence[Path], options: argparse.Namespace
) -> list[ComparedPage]:
    comparer = PageComparer(
        renderers,
        PROFILES[options.profile].sizing,
        num_processes=options.clients,
        max_pages=options.pages,
        declares_type=options.content_type == "extension",
    )
    with contextlib.closing(comparer), ThreadPoolExecutor(options.clients) as threads:
        return [
            page for pages in threads.map(comparer.compare, files) for page in pages
        ]


if __name__ == "__main__":
    raise SystemExit(main())

"""Measurements of the native engine on a GPU with the sizes of Chandra 1.

A run takes at most ten minutes. It measures the most important parts first, writes each
result at once, and ends with a report. A second run of the same commit on the same
device continues where the first stopped.

The weights are random, and every system generates the same number of tokens for a page,
without a stop token. The native engine outputs the transcription of each page (teacher
forcing): every forward pass is computed, and drafts are accepted as often as on a real
page. The accuracy of the model is not measured.
"""

from __future__ import annotations

import argparse
import dataclasses
import faulthandler
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
import transformers

from bench.device.hardware import Hardware, parse_device
from bench.device.items import PARTS, MeasurementOptions, Measurements
from bench.device.report import render, report_path
from bench.device.schedule import OUT_OF_TIME, run_items
from bench.device.supervisor import supervise
from bench.report import describe_commit, finish, say
from bench.runs.records import Records
from bench.shipped import RESULTS, write_measurements
from bench.teacher_forcing.geometry import GEOMETRIES

__all__ = ["main", "measure"]

BUDGET_SECONDS = 600.0
_REPORT_SECONDS = 25.0
"""Time reserved for importing torch, and for the plot and the report."""
_INTERRUPTED = 130
_DEVICE_LOST = 3
"""Exit status of a process whose device is lost."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Supervise a run, or measure in a child process of one."""
    options = _make_parser().parse_args(arguments)
    if parse_device(options.device).type == "cuda" and not torch.cuda.is_available():
        raise SystemExit(
            "no CUDA device: run this on a GPU, "
            "or try it out with --device cpu --geometry tiny"
        )
    if options.announce is not None:
        _measure_in_child(options)
    else:
        _supervise(options, list(sys.argv[1:] if arguments is None else arguments))


def measure(
    options: MeasurementOptions,
    hardware: Hardware,
    records: Records,
    remaining: Callable[[], float],
    clock: Callable[[], float] = time.monotonic,
) -> bool:
    """Measure the items missing in the records; return False if the device is lost."""
    measurements = Measurements(options, hardware, records)
    return run_items(
        measurements.items(),
        records,
        remaining=remaining,
        is_usable=hardware.is_usable,
        refusal=measurements.explain_refusal,
        tell=say,
        clock=clock,
    )


def write_report(records: Records) -> None:
    """Write the report and the plot beside the results, and print the report.

    A plot that fails is reported in a line. The last line is the JSON object.
    """
    page = render(records)
    report_path(records).write_text(page, encoding="utf-8")
    say(page)
    try:
        say(f"plotted in {records.draw()}")
    except Exception as error:  # a failed plot must not suppress the last line
        say(f"not plotted: {error}")
    finish(
        "gpu",
        records.ratios(),
        device=records.data["device"],
        geometry=records.data["geometry"],
        parts=sorted(records.data["parts"]),
        teacher_forcing=True,
        random_weights=True,
    )


def _supervise(options: argparse.Namespace, arguments: list[str]) -> None:
    """Measure in child processes that may die, then report."""
    begin = time.monotonic()
    say(__doc__)
    # SIGTERM also ends the process that measures.
    signal.signal(signal.SIGTERM, _interrupt)
    with tempfile.TemporaryDirectory() as folder:
        announced = Path(folder) / "results"

        def open_records() -> Records | None:
            if not announced.exists():
                return None
            return Records.open(Path(announced.read_text(encoding="utf-8")))

        def make_command(seconds: float) -> list[str]:
            # The second process must not drop what the first one measured.
            again = ["--again"] if announced.exists() else []
            kept = [word for word in arguments if word not in again]
            return [
                *(sys.executable, "-m", "bench.gpu", *kept),
                *("--deadline", f"{time.time() + seconds:.1f}"),
                *("--announce", str(announced)),
            ]

        was_interrupted = False
        try:
            supervise(
                make_command,
                budget=options.budget - _REPORT_SECONDS,
                num_begun=lambda: (
                    records_now.num_begun() if (records_now := open_records()) else 0
                ),
                overdue_seconds=lambda: (
                    records_now.overdue_seconds()
                    if (records_now := open_records())
                    else 0.0
                ),
                tell=say,
                min_seconds=min(20.0, options.budget / 4),
            )
        except KeyboardInterrupt:
            was_interrupted = True
        records = open_records()
    if records is None:
        raise SystemExit("nothing was measured; the lines above give the reason")
    if was_interrupted:
        records.interrupt("not measured: interrupted")
    elif time.monotonic() - begin > options.budget - _REPORT_SECONDS:
        records.interrupt(OUT_OF_TIME)
    say(f"results in {records.path}, {time.monotonic() - begin:.0f} s")
    if records.path.parent.resolve() == RESULTS.resolve():
        say(f"updated {write_measurements()}")
    write_report(records)
    if was_interrupted:
        raise SystemExit(_INTERRUPTED)


def _measure_in_child(options: argparse.Namespace) -> None:
    """Measure in this process, which ends early if its parent dies.

    The path of the results is written to the file `--announce`. If the device is lost,
    exit at once with a status of its own.
    """
    parent = os.getppid()
    faulthandler.enable()
    hardware = Hardware(parse_device(options.device))
    hardware.select()
    records = Records(options.results, _describe_run(options, hardware))
    if options.again:
        records.drop_measurements()
    records.save()
    partial = options.announce.with_suffix(".part")
    partial.write_text(str(records.path), encoding="utf-8")
    partial.replace(options.announce)
    say(f"{hardware.name}, torch {torch.__version__}, to {records.path}")

    def remaining() -> float:
        is_orphan = os.getppid() != parent
        return 0.0 if is_orphan else options.deadline - time.time()

    chosen = MeasurementOptions(
        geometry=GEOMETRIES[options.geometry],
        num_pages=options.pages,
        in_flight=tuple(options.in_flight),
        graphs=[word == "on" for word in options.graphs],
        drafts=[word == "on" for word in options.drafts],
        verified=options.verified,
        seconds=options.seconds,
        parts=PARTS if options.part == "all" else (options.part,),
    )
    if not measure(chosen, hardware, records, remaining):
        say("the device is lost: another process continues")
        sys.stdout.flush()
        # Destructors of a lost CUDA context may abort or hang.
        os._exit(_DEVICE_LOST)


def _interrupt(number: int, frame: Any) -> None:
    raise KeyboardInterrupt


def _make_parser() -> argparse.ArgumentParser:
    defaults = MeasurementOptions(GEOMETRIES["chandra"])
    parser = argparse.ArgumentParser(
        prog="python -m bench.gpu",
        description=__doc__.splitlines()[0],
        allow_abbrev=False,
    )
    parser.add_argument(
        "--part",
        choices=(*PARTS, "all"),
        default="all",
        help="part to measure (default all)",
    )
    parser.add_argument(
        "--budget",
        type=float,
        default=BUDGET_SECONDS,
        help="seconds for the whole run (default 600)",
    )
    parser.add_argument(
        "--again", action="store_true", help="drop the results of earlier runs"
    )
    parser.add_argument("--device", default="cuda", help="torch device (default cuda)")
    parser.add_argument(
        "--geometry",
        choices=GEOMETRIES,
        default="chandra",
        help="sizes of the model (default chandra)",
    )
    parser.add_argument(
        "--pages",
        type=int,
        default=defaults.num_pages,
        help="number of different pages",
    )
    parser.add_argument(
        "--seconds", type=float, help="seconds per measurement (default: by the budget)"
    )
    parser.add_argument(
        "--in-flight",
        type=int,
        nargs="+",
        default=defaults.in_flight,
        help="numbers of concurrent pages",
    )
    onoff = {"choices": ("on", "off"), "nargs": "+", "default": ("on", "off")}
    parser.add_argument("--graphs", **onoff)  # type: ignore[arg-type]
    parser.add_argument("--drafts", **onoff)  # type: ignore[arg-type]
    parser.add_argument(
        "--verified",
        type=int,
        default=defaults.verified,
        help="number of tokens that a step verifies, over all pages",
    )
    parser.add_argument(
        "--results",
        type=Path,
        default=RESULTS,
        help="output folder (default bench/results)",
    )
    # Child processes get the file into which they write the path of their results, and
    # the time of day at which they are ended.
    parser.add_argument("--announce", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--deadline", type=float, help=argparse.SUPPRESS)
    return parser


def _describe_run(options: argparse.Namespace, hardware: Hardware) -> dict[str, Any]:
    return {
        "bench": "gpu",
        "device": hardware.name,
        "geometry": options.geometry,
        "commit": describe_commit(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "lengths": dataclasses.asdict(GEOMETRIES[options.geometry].lengths),
        "notes": "random weights, forced lengths, teacher forcing",
    }


if __name__ == "__main__":
    main()

"""The native engine on a GPU: Chandra 1's full size, and the roofline it is held to.

The weights are random and every page's length is forced, the same for every system;
end of text never comes. The native engine is fed each page's transcription token by
token (teacher forcing): every forward is computed for real, and guesses are right as
often as on the real page. Nothing here says how well a page is read.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
from collections.abc import Callable, Iterable, Sequence as Seq
from functools import partial
from pathlib import Path
from typing import Any

import torch
import transformers

from bench.geometry import GEOMETRIES
from bench.probe import probe_operator
from bench.rates import measured_rates
from bench.records import Records
from bench.report import commit, finish, say
from bench.roofline import Rates
from bench.systems import Native, Stage

__all__ = ["main"]

PARTS = ("probe", "baseline", "native", "small")
RESULTS = Path(__file__).parent / "results"
SECONDS = {"baseline": 150.0, "native": 20.0, "small": 60.0}
"""For one configuration, so that a part stays below ten minutes on an H100."""
BATCHES = {"sequential": 1, "micro-batches of 8": 8, "micro-batches of 16": 16}
IN_FLIGHT = (1, 8, 32, 64)


def main(arguments: Seq[str] | None = None) -> None:
    options = _parser().parse_args(arguments)
    device = torch.device(options.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        raise SystemExit(
            "no CUDA device: run this on a GPU, "
            "or try it out with --device cpu --geometry tiny"
        )
    parts = PARTS if options.part == "all" else (options.part,)
    records = Records(options.results, _about(options, device))
    say(__doc__)
    say(f"{records.data['device']}, torch {torch.__version__}, to {records.path}")

    if "probe" in parts or not records.part("probe"):
        _probe(records, device)
    _refuse_a_wrong_operator(records)
    rates = Rates(**records.part("probe")["rates"])
    for part in parts:
        if part != "probe":
            # Anew for each: the native engine gives its model another attention.
            stage = Stage(GEOMETRIES[options.geometry], device, rates, options.pages)
            records.data["parameters"] = stage.costs.total
            records.data["mean_output_tokens"] = stage.mean_length
            _measure(records, part, _systems(part, stage, options))
            del stage
    say(f"plotted in {records.draw()}")
    finish(
        "gpu",
        records.ratios(),
        device=records.data["device"],
        geometry=options.geometry,
        parts=sorted(records.data["parts"]),
        teacher_forcing=True,
        random_weights=True,
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m bench.gpu", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--part", choices=(*PARTS, "all"), default="all")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--geometry", choices=GEOMETRIES, default="chandra")
    parser.add_argument("--pages", type=int, default=64, help="before they repeat")
    parser.add_argument(
        "--seconds", type=float, help="for one configuration; None: as its part needs"
    )
    parser.add_argument("--in-flight", type=int, nargs="+", default=IN_FLIGHT)
    onoff = {"choices": ("on", "off"), "nargs": "+", "default": ("on", "off")}
    parser.add_argument("--graphs", **onoff)  # type: ignore[arg-type]
    parser.add_argument("--drafts", **onoff)  # type: ignore[arg-type]
    parser.add_argument(
        "--verified",
        type=int,
        default=Native(1).max_verified_tokens,
        help="tokens of all pages that a step verifies",
    )
    parser.add_argument("--results", type=Path, default=RESULTS)
    return parser


def _about(options: argparse.Namespace, device: torch.device) -> dict[str, Any]:
    is_gpu = device.type == "cuda"
    return {
        "bench": "gpu",
        "device": torch.cuda.get_device_name(device) if is_gpu else device.type,
        "geometry": options.geometry,
        "commit": commit(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "lengths": dataclasses.asdict(GEOMETRIES[options.geometry].lengths),
        "notes": "random weights, forced lengths, teacher forcing",
    }


def _probe(records: Records, device: torch.device) -> None:
    operator = probe_operator(device)
    rates = measured_rates(device)
    records.add("probe", "operator", operator)
    records.add("probe", "rates", dataclasses.asdict(rates))
    say(f"copy {rates.bandwidth / 1e9:.0f} GB/s, bf16 {rates.flops / 1e12:.1f} TFLOP/s")
    if operator["is_right"] is None:
        say(f"the operator was not probed: {operator['skipped']}")
        return
    for name, case in operator["cases"].items():
        say(
            f"operator, {name}: error {case['error']:.4f}, "
            f"replayed {case['error_replayed']:.4f}, "
            f"same in company: {case['is_same_in_company']}"
        )
    for speed in operator.get("speed", ()):
        say(
            f"operator, {speed['pages']} pages, {speed['queries']} queries"
            f"{' as rows' if speed['as_rows'] else ''}, bound {speed['bound']}: "
            f"{speed['microseconds']:.0f} us, {speed['gigabytes_per_second']:.0f} GB/s"
        )


def _refuse_a_wrong_operator(records: Records) -> None:
    operator = records.part("probe")["operator"]
    if operator["is_right"] is False:
        why = operator.get("failure", "its values are not those of the reference")
        raise SystemExit(
            f"aten::_flash_attention_forward does not do on {records.data['device']} "
            f"what the engine relies on: {why}. Nothing was timed; see {records.path}"
        )


_Systems = Iterable[tuple[str, Callable[[], dict[str, Any]]]]


def _systems(part: str, stage: Stage, options: argparse.Namespace) -> _Systems:
    """Names, and what measures them."""
    seconds = options.seconds or SECONDS[part]
    drafts = [word == "on" for word in options.drafts]
    if part == "baseline":
        for name, size in BATCHES.items():
            yield name, partial(stage.generate, size, seconds)
    elif part == "small":
        for has_drafts in drafts:
            native = Native(0, True, has_drafts, options.verified)
            name = "drafts" if has_drafts else "no drafts"
            yield name, partial(stage.small, native, seconds)
    else:
        graphs = [word == "on" for word in options.graphs]
        for how in itertools.product(options.in_flight, graphs, drafts):
            native = Native(*how, options.verified)
            yield native.name, partial(stage.native, native, seconds)


def _measure(records: Records, part: str, systems: _Systems) -> None:
    say()
    say(f"{part:36}{'pages/s':>9}{'tokens/s':>10}{'a forward':>11}{'of roofline':>13}")
    for name, measure in systems:
        run = measure()
        records.add(part, name, run)
        asked = run.get("tokens_per_forward")
        say(
            f"{name:36}{run['pages_per_second']:9.3f}{run['tokens_per_second']:10.0f}"
            f"{f'{asked:.2f}' if asked else '':>11}{run['fraction_of_roofline']:13.0%}"
        )


if __name__ == "__main__":
    main()

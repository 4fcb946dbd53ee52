"""Counts of the work of every kind of step on a CUDA device, without a device.

The engine's own runner computes decode, mixed and prefill steps and encodes pages, at
the model's real sizes, over fake tensors (`costs/fake_cuda.py`). Kernels, bytes, FLOPs
and host synchronisations are counted; nothing is measured. Seconds are estimates from
data sheets (`costs/roofline.py`).
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import torch

from bench.costs.roofline import GPUS, GpuDataSheet
from bench.costs.step_counts import CountedStep, StepCounts, count_steps
from bench.report import finish, say
from bench.teacher_forcing.geometry import GEOMETRIES

__all__ = ["estimate_seconds", "main", "print_report"]

LAUNCH_SECONDS = 2.3e-6
"""Seconds between launches of kernels without a graph; an estimate."""
REPLAY_SECONDS = 1.3e-6
"""Seconds between kernels of a replayed graph; an estimate."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Count the steps of a geometry, and print the tables."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.steps", description=__doc__.splitlines()[0]
    )
    parser.add_argument(
        "--geometry",
        choices=GEOMETRIES,
        default="chandra",
        help="sizes of the model (default chandra)",
    )
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    say(__doc__)
    print_report(count_steps(GEOMETRIES[options.geometry]))


def print_report(counts: StepCounts) -> None:
    """Print the tables; exit with status 1 if a step cannot be recorded."""
    _print_counts(counts)
    _print_waits(counts)
    _print_estimates(counts)
    recorded = [step for step in (*counts.decode.values(), counts.drafted) if step]
    finish(
        "steps",
        {
            f"kernels_per_decode_step_{counts.geometry.name}": max(
                step.num_operators for step in recorded
            ),
            "host_synchronisations_per_step": max(
                step.num_synchronisations for step in recorded
            ),
            "host_synchronisations_per_mixed_step": (
                counts.mixed.num_synchronisations if counts.mixed else 0
            ),
        },
        kernels_with_those_inside_attention=max(step.num_kernels for step in recorded),
        host_synchronisations={
            step.name: step.num_synchronisations for step in counts.steps
        },
        forbidden=counts.forbidden,
        measured=False,
        torch=torch.__version__,
    )
    if counts.forbidden:
        raise SystemExit("a step cannot be recorded: " + "; ".join(counts.forbidden))


def estimate_seconds(step: CountedStep, gpu: GpuDataSheet) -> float:
    """Estimate the seconds of a step.

    Memory, multiplication or the launch rate limits each operator.
    """
    rates = gpu.rates
    total = 0.0
    for tally, pace in ((step.recorded, REPLAY_SECONDS), (step.eager, LAUNCH_SECONDS)):
        for operator in tally.operators:
            total += max(
                operator.num_bytes / rates.bandwidth,
                operator.flops / rates.flops,
                operator.num_kernels * pace,
            )
    return total


def _print_counts(counts: StepCounts) -> None:
    say(
        f"{'step':46}{'kernels':>9}{'with attn.':>11}{'GB':>8}{'TFLOP':>8}"
        f"{'host waits':>12}"
    )
    for step in counts.steps:
        say(
            f"{step.name:46}{step.num_operators:9,}{step.num_kernels:11,}"
            f"{step.num_bytes / 1e9:8.2f}{step.flops / 1e12:8.2f}"
            f"{step.num_synchronisations:12}"
        )
    say("'with attn.' counts the copies and kernels inside the attention operator.")
    say()
    largest = max(counts.decode.values(), key=lambda step: step.num_operators)
    names = largest.recorded.by_name().most_common()
    say(f"{largest.name}: " + ", ".join(f"{name} {n}" for name, n in names))


def _print_waits(counts: StepCounts) -> None:
    say()
    say("Where the host waits for the device:")
    names: dict[tuple[tuple[str, int], ...], list[str]] = {}
    for step in counts.steps:
        waits = (step.recorded + step.eager).synchronisations.most_common()
        names.setdefault(tuple(waits), []).append(step.name)
    for places, steps in names.items():
        say("; ".join(steps))
        for where, count in places:
            say(f"  {count} x {where}")
        if not places:
            say("  nowhere")
    say()
    if counts.forbidden:
        say("What a CUDA graph cannot hold:")
        for what in counts.forbidden:
            say(f"  {what}")
    else:
        say(
            "Recorded parts read nothing back, copy nothing from the host, draw no "
            "random\nnumbers and pin no memory."
        )


def _print_estimates(counts: StepCounts) -> None:
    say()
    say(
        "Estimates from data sheets, nothing is measured. Each operator takes the "
        "longest of\nits times for memory, multiplication and launches: "
        f"{REPLAY_SECONDS * 1e6:.1f} us a kernel in a graph,\n"
        f"{LAUNCH_SECONDS * 1e6:.1f} us outside. A page has {counts.page_positions:,} "
        "tokens in a decode step; '-': the cache does not fit."
    )
    say(
        f"{'':8}{'tokens/s, by pages':^36}{'one page, ms a step':^27}{'A4 page, s':^18}"
    )
    columns = "".join(f"{count:9}" for count in counts.decode)
    say(
        f"{'':8}{columns}{'memory':>9}{'launches':>9}{'step':>9}{'encode':>9}{'prefill':>9}"
    )
    alone = next(iter(counts.decode.values()))
    encoding, *chunks = counts.page_prefill
    for gpu in GPUS.values():
        speeds = "".join(
            f"{count / estimate_seconds(step, gpu):9,.0f}"
            if count <= counts.num_pages_that_fit(gpu)
            else f"{'-':>9}"
            for count, step in counts.decode.items()
        )
        memory = alone.num_bytes / gpu.rates.bandwidth
        launches = alone.recorded.num_kernels * REPLAY_SECONDS
        prefill = sum(estimate_seconds(step, gpu) for step in chunks)
        say(
            f"{gpu.name:8}{speeds}{memory * 1e3:9.2f}{launches * 1e3:9.2f}"
            f"{estimate_seconds(alone, gpu) * 1e3:9.2f}"
            f"{estimate_seconds(encoding, gpu):9.2f}{prefill:9.2f}"
        )


if __name__ == "__main__":
    main()

"""Answers about steps: their correctness, speed and bottlenecks."""

from __future__ import annotations

from typing import Any

from bench.device.answer import FREE_RATIO, Answer
from bench.runs.records import Records

__all__ = [
    "check_forward",
    "check_launch_limit",
    "check_operator",
    "check_position_bound",
    "check_recorded_steps",
    "compare_draft_rows",
    "compare_drafts",
    "compare_with_roofline",
    "count_free_tokens",
]

_LAUNCH_RATIO = 1.5
"""Ratio from which kernel launches, not memory traffic, limit a step."""


def check_operator(records: Records) -> Answer | None:
    """Check if the attention operator agrees with the reference.

    Return None if it was not measured.
    """
    measured = records.part("selftest").get("operator", {})
    if measured.get("is_right") is None:
        return None
    cases = measured.get("cases", {})
    worst = max((case["error"] for case in cases.values()), default=None)
    numbers = (
        f"{len(cases)} cases, largest error "
        f"{'none' if worst is None else format(worst, '.4f')}, "
        f"allowed {measured.get('largest_error_allowed', '')}"
    )
    if measured["is_right"]:
        return Answer("yes", numbers, "nothing to do")
    wrong = [name for name, case in cases.items() if not case["is_same_in_company"]]
    return Answer(
        f"**no**: {measured.get('failure') or wrong or 'values differ'}",
        numbers,
        "nothing, as the engine's self-test falls back to torch's attention; to skip "
        "its try, set `attention` to torch, or `engine` to generate",
    )


def check_recorded_steps(records: Records) -> Answer | None:
    """Check if recorded steps agree with eager ones.

    Return None if it was not measured.
    """
    measured = records.part("selftest").get("recorded step", {})
    if measured.get("is_right") is None:
        return None
    numbers = "; ".join(
        f"drafts as {kind}: largest error of a logit {case['error']:.2%}"
        for kind, case in measured["cases"].items()
    )
    if measured["is_right"]:
        return Answer("yes", numbers, "nothing to do")
    failures = [
        case["failure"] for case in measured["cases"].values() if "failure" in case
    ]
    return Answer(
        f"**no**: {failures[0]}",
        numbers,
        "nothing, as the engine's self-test falls back to eager steps; to skip its "
        "try, set `cuda_graphs` to false",
    )


def check_forward(records: Records) -> Answer | None:
    """Compare the engine's forward pass with that of transformers.

    Return None if it was not measured.
    """
    measured = records.part("selftest").get("forward")
    if not measured:
        return None
    numbers = (
        f"largest deviation {measured['error']:.3f}, allowed {measured['allowed']:.2f} "
        "(random weights; a start logs that of its own as `self-test`)"
    )
    if measured["is_right"]:
        return Answer("yes", numbers, "nothing to do")
    return Answer(
        f"**no**: {measured['failure']}",
        numbers,
        "find the cause first: a start would fall back to torch's attention, then to "
        "`generate`. If only the last layers are beyond, raise the bound in "
        "`handler/engine/device/checks/forward_check.py`",
    )


def compare_with_roofline(records: Records) -> Answer | None:
    """Compare decode steps with the roofline.

    Return None if it was not measured.
    """
    runs = _sort_launches(records)
    if not runs:
        return None
    numbers = "; ".join(
        f"{run['pages']} pages: {run['fraction_of_roofline']:.0%} "
        f"({run['replay_ms']:.2f} ms, {run['gigabytes_per_second']:.0f} GB/s)"
        for run in runs
    )
    worst = min(run["fraction_of_roofline"] for run in runs)
    advice = (
        "nothing to do"
        if worst >= 0.8
        else "count kernels (`make bench-steps`) and profile one step"
    )
    served = "; ".join(
        f"{run['in_flight']}: {run['fraction_of_roofline']:.0%}"
        for name, run in records.part("native").items()
        if name.endswith("in flight, graphs, drafts")
    )
    whole = f"; whole engine, prefill included: {served}" if served else ""
    return Answer(f"{worst:.0%} or more of it", numbers + whole, advice)


def check_launch_limit(records: Records) -> Answer | None:
    """Check if kernel launches limit a decode step.

    Return None if it was not measured.
    """
    runs = [run for run in _sort_launches(records) if run["has_graphs"]]
    if not runs:
        return None
    numbers = "; ".join(
        f"{run['pages']} pages: recorded {run['step_ms']:.2f} ms, "
        f"eager {run['eager_ms']:.2f} ms, roofline {run['roofline_ms']:.2f} ms"
        for run in runs
    )
    kernels = records.part("launches").get("kernels of a step", {}).get("kernels")
    if kernels:
        numbers += f"; {kernels} kernels"
    few = [run for run in runs if run["pages"] <= 8] or runs
    ratio = max(run["replay_ms"] / run["roofline_ms"] for run in few)
    gain = max(run["eager_ms"] / run["step_ms"] for run in few)
    if ratio > _LAUNCH_RATIO:
        return Answer(
            f"yes: a recorded step takes {ratio:.1f} times its roofline",
            numbers,
            "fuse norms, rotary embedding and SiLU-mul; see Triton in container/README",
        )
    return Answer(
        f"no; without graphs they would be: {gain:.1f} times",
        numbers,
        "leave Triton out; keep graphs on" if gain > 1.1 else "graphs may stay off",
    )


def compare_draft_rows(records: Records) -> Answer | None:
    """Compare drafts as queries of a segment with drafts as rows of one query.

    Return None if it was not measured.
    """
    pairs = [
        (run["pages"], width, run["segments"][width], run["rows"][width])
        for run in _sort_verifications(records)
        for width in ("5", "9")
    ]
    if not pairs:
        return None
    numbers = [
        f"{pages} pages x {width} tokens: segments {segments:.2f}, rows {rows:.2f} ms"
        for pages, width, segments, rows in pairs
    ]
    served = records.part("native")
    for run in records.part("draft rows").values():
        beside = served.get(f"{run['in_flight']} in flight, graphs, drafts")
        if beside:
            numbers.append(
                f"{run['in_flight']} pages in flight: "
                f"segments {beside['pages_per_second']:.2f}, "
                f"rows {run['pages_per_second']:.2f} pages/s"
            )
    gain = max(segments / rows for _, _, segments, rows in pairs)
    if gain > FREE_RATIO:
        return Answer(
            f"yes: rows are up to {gain:.2f} times as fast",
            "; ".join(numbers),
            "verify drafts as rows of one query: pass `draft_rows` to TorchRunner in "
            "native_builder.py",
        )
    return Answer("no", "; ".join(numbers), "keep drafts as queries of one segment")


def count_free_tokens(records: Records) -> Answer | None:
    """Count the tokens that a step verifies without taking longer.

    Return None if it was not measured.
    """
    free = []
    for run in _sort_verifications(records):
        times = {int(width): took for width, took in run["segments"].items()}
        widths = [w for w, took in times.items() if took <= FREE_RATIO * times[1]]
        free.append((run["pages"], max(widths) * run["pages"], times))
    if not free:
        return None
    numbers = "; ".join(
        f"{pages} pages: "
        + ", ".join(f"{pages * width} {took:.2f}" for width, took in times.items())
        + " ms"
        for pages, _, times in free
    )
    most = max(tokens for _, tokens, _ in free)
    return Answer(
        f"{most} tokens",
        f"tokens and time of a step: {numbers}",
        f"let `choose_verified_tokens` return {most} for this device",
    )


def compare_drafts(records: Records) -> Answer | None:
    """Compare the pages per second with and without drafts.

    Return None if it was not measured.
    """
    native = records.part("native")
    gains = []
    for name, run in native.items():
        without = native.get(name.replace(", drafts", ", no drafts"))
        if name.endswith(", graphs, drafts") and "no graphs" not in name and without:
            gain = run["pages_per_second"] / without["pages_per_second"]
            gains.append((run["in_flight"], gain, run.get("tokens_per_forward")))
    if not gains:
        return None
    numbers = "; ".join(
        f"{count} pages: {gain:.2f} times"
        + (f" at {per_forward:.1f} tokens a forward" if per_forward else "")
        for count, gain, per_forward in gains
    )
    lost = [str(count) for count, gain, _ in gains if gain < 1.0]
    return Answer(
        "they slow down " + ", ".join(lost) + " pages" if lost else "yes",
        numbers,
        "lower `choose_verified_tokens`, or `draft_tokens=0`"
        if lost
        else "nothing to do",
    )


def check_position_bound(records: Records) -> Answer | None:
    """Check if a large bound of cache positions slows the attention operator.

    Return None if it was not measured.
    """
    calls = records.part("operator speed").get("calls", {}).get("calls")
    if not calls:
        return None
    times = {
        (call["pages"], call["bound"]): call["microseconds"]
        for call in calls
        if call["queries"] == 1
    }
    pages = sorted({key[0] for key in times})
    numbers = "; ".join(
        f"{count} pages: {times[count, 5120]:.0f} us with a bound of 5,120, "
        f"{times[count, 262_144]:.0f} us with 262,144"
        for count in pages
    )
    ratio = max(times[count, 262_144] / times[count, 5120] for count in pages)
    if ratio > FREE_RATIO:
        advice = "record graphs with the bound of the longest page"
        return Answer(f"yes: {ratio:.1f} times", numbers, advice)
    return Answer("no", numbers, "the bound does not matter")


def _sort_launches(records: Records) -> list[dict[str, Any]]:
    runs = records.part("launches").values()
    return sorted((run for run in runs if "replay_ms" in run), key=_by_pages)


def _sort_verifications(records: Records) -> list[dict[str, Any]]:
    return sorted(records.part("verification").values(), key=_by_pages)


def _by_pages(run: dict[str, Any]) -> int:
    return int(run["pages"])

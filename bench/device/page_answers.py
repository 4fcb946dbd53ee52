"""Answers about whole pages: encoder, memory, start, speed and cost."""

from __future__ import annotations

from bench.device.answer import GIB, Answer
from bench.runs.records import Records

__all__ = [
    "check_memory_plan",
    "choose_encoder_backend",
    "compare_patch_embeddings",
    "compare_with_generate",
    "report_pages_per_second",
    "report_small_cache",
    "report_start_time",
]

_RECOMPILE_RATIO = 3.0
_TERM_RATIO = 1.02
"""Tolerance for the terms of the memory plan."""
_MUCH_FREE_BYTES = 6 * GIB
_SLOW_SECONDS = 30.0
_NOTHING = "nothing to do"
_NAMED_BACKENDS = ("flash", "memory-efficient", "cudnn")
_CONTEXT = (
    "Context: chandra-ocr 0.2.0's description gives 1.44 pages/s for Chandra 2, "
    "another model, on an H100 under vLLM with 96 pages at once"
)


def compare_patch_embeddings(records: Records) -> Answer | None:
    """Compare the patch embedding as convolution and as linear layer.

    Return None if it was not measured.
    """
    measured = records.part("vision").get("patch embedding")
    if not measured:
        return None
    convolution, linear = measured["conv3d_ms"], measured["linear_ms"]
    numbers = (
        f"{measured['patches']} patches: Conv3d {convolution:.2f} ms"
        f"{' (projected)' if measured['is_projected'] else ''}, "
        f"linear {linear:.3f} ms, "
        f"largest difference {measured['largest_difference']:.2%}"
    )
    ratio = convolution / linear
    if ratio > 2:
        return Answer(f"yes: {ratio:.0f} times", numbers, "embed with a linear layer")
    return Answer("no", numbers, "either will do")


def choose_encoder_backend(records: Records) -> Answer | None:
    """Compare the attention backends of the vision encoder.

    Return None if it was not measured.
    """
    vision = records.part("vision")
    times: dict[str, float] = {}
    parts, compiling = [], []
    for name, run in vision.items():
        backend = name.removeprefix("encoder, ")
        if backend == name or "largest" not in run:
            continue
        sizes = {key: size for key, size in run.items() if isinstance(size, dict)}
        times[backend] = sizes["largest"]["mean_ms"]
        # Skip the first size, which also loads kernels.
        later = list(sizes.values())[1:]
        ratio = max(size["first_ms"] / size["second_ms"] for size in later)
        if ratio > _RECOMPILE_RATIO:
            compiling.append(backend)
        peak = sizes["largest"]["peak_bytes"]
        parts.append(
            f"{backend}: A4 {sizes['A4']['mean_ms']:.0f} ms, largest "
            f"{times[backend]:.0f} ms"
            + (f" and {peak / GIB:.2f} GiB" if peak is not None else "")
            + f", first call of a size {ratio:.1f} times"
        )
    named = {key: took for key, took in times.items() if key in _NAMED_BACKENDS}
    if not named:
        return None
    steady = {key: took for key, took in named.items() if key not in compiling}
    best = min(steady or named, key=lambda key: named[key])
    text = f"{best}; "
    text += f"{', '.join(compiling)} recompiles" if compiling else "none recompiles"
    choice = vision.get("encoder, torch's choice", {}).get("choice")
    if choice:
        parts.append(f"torch chooses {choice}")
    served = vision.get("as served", {}).get("largest")
    if served:
        parts.append(
            f"as served: largest {served['mean_ms']:.0f} ms in {served['slices']} "
            f"slices of {served['longest_slice_ms']:.0f} ms at most"
        )
    failed = [
        key.partition(": encoder, ")[2]
        for key, item in records.items().items()
        if key.startswith("vision: encoder, ") and item.get("state") == "failed"
    ]
    if failed:
        parts.append(f"failed: {', '.join(failed)}")
    return Answer(text, "; ".join(parts), f"allow {best} in the encoder, before others")


def check_memory_plan(records: Records) -> Answer | None:
    """Compare each term of the memory plan with its measurement.

    Return None if it was not measured.
    """
    as_served = records.part("memory").get("as served")
    if (
        not as_served
        or "terms" not in as_served
        or as_served.get("engine", "native") != "native"
    ):
        return None
    terms = as_served["terms"]
    numbers = [
        f"{name} {term['measured'] / GIB:.2f} of {term['planned'] / GIB:.2f}"
        for name, term in terms.items()
    ]
    numbers[0] = f"GiB measured of planned: {numbers[0]}"
    numbers.append(f"left {as_served['free'] / GIB:.2f} GiB")
    gaps = records.data.get("allocator_gap_bytes", {})
    if gaps.get("packed") is not None:
        numbers.append(
            f"gaps of the allocator: {gaps['loaded'] / GIB:.2f} GiB after the load, "
            f"{gaps['packed'] / GIB:.2f} after packing"
        )
    workspace = records.part("memory").get("cublas workspace", {})
    if "bytes_per_stream" in workspace:
        size = workspace["bytes_per_stream"] / 2**20
        numbers.append(f"cuBLAS {size:.0f} MiB a stream")
    if as_served["fallbacks"]:
        numbers.append(f"given up at start: {', '.join(as_served['fallbacks'])}")
    short = [
        name
        for name, term in terms.items()
        if term["measured"] > _TERM_RATIO * term["planned"]
    ]
    advice = (
        f"plan more for {', '.join(short)} in memory_plan.py" if short else _NOTHING
    )
    if as_served["largest_page"] != "read":
        text = f"**no**: {as_served['largest_page']}"
        return Answer(text, "; ".join(numbers), advice)
    text = f"yes, but more than planned for {', '.join(short)}" if short else "yes"
    if not short and as_served["free"] > _MUCH_FREE_BYTES:
        advice = "the margin may shrink"
    return Answer(text, "; ".join(numbers), advice)


def report_start_time(records: Records) -> Answer | None:
    """Report the start time of the engine and its parts.

    Return None if it was not measured.
    """
    served = records.part("memory").get("as served")
    if not served:
        return None
    took = served["start_seconds"]
    numbers = [f"{took:.1f} s in all"]
    checks = served.get("check_seconds", {})
    numbers += [f"check of {name} {seconds:.1f} s" for name, seconds in checks.items()]
    recorded = served.get("recording_seconds", {})
    if recorded:
        seconds_by_shape = ", ".join(
            f"{shape}: {s:.2f}" for shape, s in recorded.items()
        )
        numbers.append(
            f"{len(recorded)} recorded shapes (rows x tokens: s): {seconds_by_shape}"
        )
    return Answer(
        f"{took:.0f} s beside reading the weights",
        "; ".join(numbers),
        "record fewer shapes" if sum(recorded.values()) > _SLOW_SECONDS else _NOTHING,
    )


def report_pages_per_second(records: Records) -> Answer | None:
    """Report the pages per second on which prices are based.

    Return None if it was not measured.
    """
    speeds = records.speeds()
    if "pages_per_second" not in speeds:
        return None
    rate = speeds["pages_per_second"]
    single = speeds.get("pages_per_second_single")
    numbers = f"one page at a time: {single:.3f} pages/s" if single else ""
    per_dollar = f"1,000 pages take {1000 / rate / 3600:.3f} hours of this GPU"
    return Answer(
        f"{rate:.2f} pages/s",
        "; ".join(filter(None, (numbers, per_dollar))),
        f"commit the results: `chandra-sagemaker cost` reads them. {_CONTEXT}",
    )


def compare_with_generate(records: Records) -> Answer | None:
    """Compare the pages per second with those of `generate`.

    Return None if it was not measured.
    """
    baseline, native = records.part("baseline"), records.part("native")
    if not baseline or not native:
        return None
    best = max(run["pages_per_second"] for run in native.values())
    numbers = "; ".join(
        f"{name}: {run['pages_per_second']:.3f} pages/s"
        for name, run in baseline.items()
    )
    fastest = max(run["pages_per_second"] for run in baseline.values())
    return Answer(
        f"{best / fastest:.1f} times",
        numbers,
        _NOTHING if best > fastest else "set `engine=generate`",
    )


def report_small_cache(records: Records) -> Answer | None:
    """Report the speed with the cache of a 24 GB card.

    Return None if it was not measured.
    """
    runs = records.part("small")
    if not runs:
        return None
    numbers = "; ".join(
        f"{name}: {run['fraction_of_roofline']:.0%} of the roofline with "
        f"{run['in_flight']} pages, {run['a10g_projection']['tokens_per_second']:.0f} "
        "tokens/s projected to an A10G"
        for name, run in runs.items()
    )
    best = max(runs, key=lambda name: runs[name]["tokens_per_second"])
    return Answer(f"{best} is faster", numbers, _NOTHING)

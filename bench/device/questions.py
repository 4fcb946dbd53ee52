"""The questions that only a device can answer, and their answers from the results."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from bench.records import Records

__all__ = ["QUESTIONS", "Answer", "Question", "reason_of", "why_unanswered"]

FREE_RATIO = 1.1
"""A step that takes up to this times that of one token a page costs nothing more."""
_LAUNCH_RATIO = 1.5
"""From here on a step's kernels, not its bytes, are worth working on."""
_RECOMPILE_RATIO = 3.0
_REASON_LETTERS = 120
_GIB = 1024**3
_CONTEXT = (
    "Context: chandra-ocr 0.2.0's description gives 1.44 pages/s for Chandra 2, "
    "another model, on an H100 under vLLM with 96 pages at once"
)


@dataclass(frozen=True, slots=True)
class Answer:
    """What the results say, the numbers, and what to set or to change."""

    text: str
    numbers: str
    advice: str


@dataclass(frozen=True, slots=True)
class Question:
    """A question, the part that answers it, and how."""

    title: str
    part: str
    answer: Callable[[Records], Answer | None]
    """None where the results are not there."""
    items: str = ""
    """How the names of the items begin that answer it."""


def why_unanswered(question: Question, records: Records) -> str:
    """Return the reasons that the items of the question's part left behind."""
    reasons = [
        f"{key.partition(': ')[2]}: {reason_of(item)}"
        for key, item in records.items().items()
        if key.startswith(f"{question.part}: {question.items}")
        and item.get("state") != "measured"
    ]
    skipped = [
        f"{name}: {run['skipped']}"
        for name, run in records.part(question.part).items()
        if name.startswith(question.items) and "skipped" in run
    ]
    if not reasons and not skipped:
        reasons = [f"the part `{question.part}` was not run"]
    return "; ".join([*reasons, *skipped][:3])


def reason_of(item: dict[str, Any]) -> str:
    """Return why an item has no result, in a line."""
    if item.get("state") == "running":
        return "the process ended while this was measured"
    if item.get("state") == "open":
        return "the run ended before"
    return " ".join(str(item.get("why", "not measured")).split())[:_REASON_LETTERS]


def _operator(records: Records) -> Answer | None:
    found = records.part("selftest").get("operator", {})
    if found.get("is_right") is None:
        return None
    cases = found.get("cases", {})
    worst = max((case["error"] for case in cases.values()), default=None)
    numbers = (
        f"{len(cases)} cases, largest error "
        f"{'none' if worst is None else format(worst, '.4f')}, "
        f"allowed {found.get('largest_error_allowed', '')}"
    )
    if found["is_right"]:
        return Answer("yes", numbers, "nothing to do")
    wrong = [name for name, case in cases.items() if not case["is_same_in_company"]]
    return Answer(
        f"**no**: {found.get('failure') or wrong or 'values differ'}",
        numbers,
        "do not serve with the native engine here: set `engine=generate`",
    )


def _graphs(records: Records) -> Answer | None:
    found = records.part("selftest").get("recorded step", {})
    if found.get("is_right") is None:
        return None
    error = max(case["largest_logit_error"] for case in found["cases"].values())
    equal = min(case["tokens_equal"] for case in found["cases"].values())
    numbers = f"largest error of a logit {error:.2%}, equal tokens {equal:.0%}"
    if found["is_right"]:
        return Answer("yes", numbers, "nothing to do")
    return Answer("**no**", numbers, "turn CUDA graphs off")


def _roofline(records: Records) -> Answer | None:
    runs = _launches(records)
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


def _launch_bound(records: Records) -> Answer | None:
    runs = [run for run in _launches(records) if run["has_graphs"]]
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


def _split(records: Records) -> Answer | None:
    runs = _verification(records)
    pairs = [
        (run["pages"], width, run["segments"][width], run["rows"][width])
        for run in runs
        for width in ("5", "9")
    ]
    if not pairs:
        return None
    numbers = "; ".join(
        f"{pages} pages x {width} tokens: segments {segments:.2f}, rows {rows:.2f} ms"
        for pages, width, segments, rows in pairs
    )
    gain = max(segments / rows for _, _, segments, rows in pairs)
    if gain > FREE_RATIO:
        return Answer(
            f"yes: rows are up to {gain:.2f} times as fast",
            numbers,
            "verify drafts as rows of one query that share a segment",
        )
    return Answer("no", numbers, "keep drafts as queries of one segment")


def _verified(records: Records) -> Answer | None:
    free = []
    for run in _verification(records):
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
        f"let `verified_tokens` return {most} for this device",
    )


def _drafts(records: Records) -> Answer | None:
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
        + (f" at {asked:.1f} tokens a forward" if asked else "")
        for count, gain, asked in gains
    )
    lost = [str(count) for count, gain, _ in gains if gain < 1.0]
    return Answer(
        "they slow down " + ", ".join(lost) + " pages" if lost else "yes",
        numbers,
        "lower `verified_tokens`, or `draft_tokens=0`" if lost else "nothing to do",
    )


def _patches(records: Records) -> Answer | None:
    found = records.part("vision").get("patch embedding")
    if not found:
        return None
    convolution, linear = found["conv3d_ms"], found["linear_ms"]
    numbers = (
        f"{found['patches']} patches: Conv3d {convolution:.2f} ms"
        f"{' (projected)' if found['is_projected'] else ''}, linear {linear:.3f} ms, "
        f"largest difference {found['largest_difference']:.2%}"
    )
    ratio = convolution / linear
    if ratio > 2:
        return Answer(f"yes: {ratio:.0f} times", numbers, "embed with a linear layer")
    return Answer("no", numbers, "either will do")


def _encoder(records: Records) -> Answer | None:
    vision = records.part("vision")
    times: dict[str, float] = {}
    parts, compiling = [], []
    for name, run in vision.items():
        backend = name.removeprefix("encoder, ")
        if backend == name or "largest" not in run:
            continue
        sizes = {key: size for key, size in run.items() if isinstance(size, dict)}
        times[backend] = sizes["largest"]["mean_ms"]
        # The first size also loads kernels, which is no compilation for a size.
        later = list(sizes.values())[1:]
        ratio = max(size["first_ms"] / size["second_ms"] for size in later)
        if ratio > _RECOMPILE_RATIO:
            compiling.append(backend)
        peak = sizes["largest"]["peak_bytes"]
        parts.append(
            f"{backend}: A4 {sizes['A4']['mean_ms']:.0f} ms, largest "
            f"{times[backend]:.0f} ms"
            + (f" and {peak / _GIB:.2f} GiB" if peak is not None else "")
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
    failed = [
        key.partition(": encoder, ")[2]
        for key, item in records.items().items()
        if key.startswith("vision: encoder, ") and item.get("state") == "failed"
    ]
    if failed:
        parts.append(f"failed: {', '.join(failed)}")
    return Answer(text, "; ".join(parts), f"allow {best} in the encoder, before others")


_NAMED_BACKENDS = ("flash", "memory-efficient", "cudnn")


def _memory(records: Records) -> Answer | None:
    found = records.part("memory").get("as served")
    if not found or "free" not in found:
        return None
    numbers = (
        f"cache {found['cache_planned'] / _GIB:.1f} GiB planned; graphs "
        f"{found['graphs'] / _GIB:.2f}, largest page "
        f"{found['workspace_of_largest_page'] / _GIB:.2f}, kept free for both "
        f"{found['kept_free_planned'] / _GIB:.2f}, left {found['free'] / _GIB:.2f}, "
        f"CUDA and others {found['outside'] / _GIB:.2f} GiB"
    )
    workspace = records.part("memory").get("cublas workspace", {})
    if "bytes_per_stream" in workspace:
        numbers += f"; cuBLAS {workspace['bytes_per_stream'] / 2**20:.0f} MiB a stream"
    if found["largest_page"] != "read":
        return Answer(
            f"**no**: {found['largest_page']}", numbers, "keep more memory free"
        )
    advice = "the margin may shrink" if found["free"] > 6 * _GIB else "nothing to do"
    return Answer("yes", numbers, advice)


def _generate(records: Records) -> Answer | None:
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
        "nothing to do" if best > fastest else "set `engine=generate`",
    )


def _speed(records: Records) -> Answer | None:
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


def _small(records: Records) -> Answer | None:
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
    return Answer(f"{best} is faster", numbers, "nothing to do")


def _start(records: Records) -> Answer | None:
    served = records.part("memory").get("as served")
    runs = [
        run for run in records.part("native").values() if run.get("graphs_recorded")
    ]
    if not served:
        return None
    numbers = f"engine with graphs {served['start_seconds']:.1f} s"
    operator = records.items().get("selftest: operator", {}).get("took_seconds")
    if operator is not None:
        numbers += f"; check of the operator {operator:.1f} s"
    slow = served["start_seconds"] > 30
    if runs:
        each = max(run["recording_seconds"] / run["graphs_recorded"] for run in runs)
        numbers += f"; {each:.2f} s for each recorded shape"
    return Answer(
        f"{served['start_seconds']:.0f} s beside reading the weights",
        numbers,
        "record fewer shapes" if slow else "nothing to do",
    )


def _bound(records: Records) -> Answer | None:
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


def _launches(records: Records) -> list[dict[str, Any]]:
    runs = records.part("launches").values()
    return sorted((run for run in runs if "replay_ms" in run), key=_by_pages)


def _verification(records: Records) -> list[dict[str, Any]]:
    return sorted(records.part("verification").values(), key=_by_pages)


def _by_pages(run: dict[str, Any]) -> int:
    return int(run["pages"])


QUESTIONS = (
    Question("Is the attention operator right?", "selftest", _operator, "operator"),
    Question("Are recorded steps right?", "selftest", _graphs, "recorded"),
    Question(
        "How far is decode from the roofline at 1, 8, 32 and 64 pages?",
        "launches",
        _roofline,
    ),
    Question("Are launches the limit?", "launches", _launch_bound),
    Question("Is the patch embedding's convolution slow?", "vision", _patches, "patch"),
    Question(
        "Which attention backend suits the encoder, and does one recompile?",
        "vision",
        _encoder,
        "encoder",
    ),
    Question("Is split-KV lost when drafts are verified?", "verification", _split),
    Question("How many tokens can a step verify for free?", "verification", _verified),
    Question("Do drafts pay?", "native", _drafts),
    Question("Does the memory plan hold?", "memory", _memory, "as served"),
    Question(
        "How many pages a second, and what do 1,000 pages cost?", "native", _speed
    ),
    Question("How much faster than `generate` is it?", "baseline", _generate),
    Question("What does a 24 GB card's cache allow?", "small", _small),
    Question("How long does a start take?", "memory", _start, "as served"),
    Question(
        "Does a large bound slow the attention operator?", "operator speed", _bound
    ),
)

"""Questions that need measurements on a device, and their answers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from bench.device import page_answers, step_answers
from bench.device.answer import Answer
from bench.runs.records import Records

__all__ = ["QUESTIONS", "Question", "explain_missing_answer", "explain_missing_result"]

_REASON_LETTERS = 120


@dataclass(frozen=True, slots=True)
class Question:
    """Question, the part that measures it, and a function that answers it."""

    title: str
    part: str
    answer: Callable[[Records], Answer | None]
    """Returns None if results are missing."""
    items: str = ""
    """Prefix of the names of the items that answer the question."""


def explain_missing_answer(question: Question, records: Records) -> str:
    """Return up to three reasons why the items of a question have no results."""
    reasons = [
        f"{key.partition(': ')[2]}: {explain_missing_result(item)}"
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


def explain_missing_result(item: dict[str, Any]) -> str:
    """Return in one line why an item has no result."""
    if item.get("state") == "running":
        return "the process ended while this was measured"
    if item.get("state") == "open":
        return "the run ended before"
    return " ".join(str(item.get("why", "not measured")).split())[:_REASON_LETTERS]


QUESTIONS = (
    Question(
        "Is the attention operator right?",
        "selftest",
        step_answers.check_operator,
        "operator",
    ),
    Question(
        "Are recorded steps right?",
        "selftest",
        step_answers.check_recorded_steps,
        "recorded",
    ),
    Question(
        "Does the forward agree with transformers' over all layers?",
        "selftest",
        step_answers.check_forward,
        "forward",
    ),
    Question(
        "How far is decode from the roofline at 1, 8, 32 and 64 pages?",
        "launches",
        step_answers.compare_with_roofline,
    ),
    Question("Are launches the limit?", "launches", step_answers.check_launch_limit),
    Question(
        "Is the patch embedding's convolution slow?",
        "vision",
        page_answers.compare_patch_embeddings,
        "patch",
    ),
    Question(
        "Which attention backend suits the encoder, and does one recompile?",
        "vision",
        page_answers.choose_encoder_backend,
        "encoder",
    ),
    Question(
        "Is split-KV lost when drafts are verified?",
        "verification",
        step_answers.compare_draft_rows,
    ),
    Question(
        "How many tokens can a step verify for free?",
        "verification",
        step_answers.count_free_tokens,
    ),
    Question("Do drafts pay?", "native", step_answers.compare_drafts),
    Question(
        "Does the memory plan hold?",
        "memory",
        page_answers.check_memory_plan,
        "as served",
    ),
    Question(
        "How many pages a second, and what do 1,000 pages cost?",
        "native",
        page_answers.report_pages_per_second,
    ),
    Question(
        "How much faster than `generate` is it?",
        "baseline",
        page_answers.compare_with_generate,
    ),
    Question(
        "What does a 24 GB card's cache allow?",
        "small",
        page_answers.report_small_cache,
    ),
    Question(
        "How long does a start take?",
        "memory",
        page_answers.report_start_time,
        "as served",
    ),
    Question(
        "Does a large bound slow the attention operator?",
        "operator speed",
        step_answers.check_position_bound,
    ),
)

"""Report that answers open questions with measurements on a GPU."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from bench.device.questions import (
    QUESTIONS,
    explain_missing_answer,
    explain_missing_result,
)
from bench.runs.records import Records
from deploy.machines.catalogue import INSTANCES, PRICE_NOTE

__all__ = ["render", "report_path"]


def report_path(records: Records) -> Path:
    """Return the path of the report beside the results."""
    return records.path.with_name(f"{records.path.stem}-report.md")


def render(records: Records) -> str:
    """Return the report in Markdown: a row per question, then missing items."""
    data = records.data
    lines = [
        f"# {data['device']}, {data['geometry']}, commit {data['commit']}",
        "",
        *_render_environment(records),
        "",
        *_render_caution(records),
        "| question | answer | numbers | what to do |",
        "|---|---|---|---|",
    ]
    unanswered = []
    for question in QUESTIONS:
        answer = question.answer(records)
        if answer is None:
            because = explain_missing_answer(question, records)
            unanswered.append(f"- {question.title} Not answered, because {because}")
            continue
        advice = answer.advice if _is_gpu(records) else "-"
        cells = (question.title, answer.text, answer.numbers, advice)
        lines.append(f"| {' | '.join(map(_escape_cell, cells))} |")
    if _is_gpu(records):
        lines += ["", *_render_prices(records)]
    if unanswered:
        lines += ["", "Not answered:", "", *unanswered]
    missing = list(_render_missing_items(records))
    if missing:
        lines += ["", "Not measured:", "", *missing]
    return "\n".join(lines) + "\n"


def _is_gpu(records: Records) -> bool:
    """Return True if the run measured a GPU with the sizes of Chandra."""
    data = records.data
    return bool(data["device"] != "cpu" and data["geometry"] != "tiny")


def _render_caution(records: Records) -> Iterable[str]:
    if not _is_gpu(records):
        yield (
            "**Nothing here was measured on a GPU at Chandra's size.** This run shows "
            "that the script works. Its answers say nothing about a GPU, so they come "
            "without advice and prices."
        )
        yield ""


def _render_environment(records: Records) -> Iterable[str]:
    description = records.part("start").get("environment", {})
    rates = records.part("start").get("rates")
    driver = description.get("driver")
    if isinstance(driver, dict):
        driver = driver.get("driver_version")
    parts = [
        f"torch {description.get('torch')}",
        f"CUDA {description.get('cuda')}",
        f"cuDNN {description.get('cudnn')}",
        f"driver {driver}",
    ]
    if rates:
        parts.append(f"copy {rates['bandwidth'] / 1e9:.0f} GB/s")
        parts.append(f"bf16 product {rates['flops'] / 1e12:.0f} TFLOP/s")
    yield ", ".join(parts) + ". Weights are random, tokens forced."


def _render_prices(records: Records) -> Iterable[str]:
    """Yield the cost of 1,000 pages on every instance type with this GPU."""
    rate = records.speeds().get("pages_per_second")
    if not rate:
        return
    instance_types = [
        f"{name} ${instance.price / instance.num_gpus / rate / 3.6:.2f}"
        for name, instance in INSTANCES.items()
        # Match a whole word: an L4 is not an L40S.
        if re.search(rf"\b{re.escape(instance.gpu.name)}\b", records.data["device"])
    ]
    if instance_types:
        yield f"1,000 pages cost on {', '.join(instance_types)} ({PRICE_NOTE})."
    else:
        yield (
            "The price table has no instance with this GPU: 1,000 pages cost "
            f"{1 / rate / 3.6:.4f} times its price per hour."
        )


def _render_missing_items(records: Records) -> Iterable[str]:
    for key, item in records.items().items():
        if item.get("state") == "measured":
            continue
        yield f"- {key}: {explain_missing_result(item)}"


def _escape_cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")

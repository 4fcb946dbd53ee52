"""Check of transformers' report about a checkpoint that it has loaded.

transformers fills tensors that are missing or have another shape with random values,
and continues. A model with one random layer answers every page with noise.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from handler.errors import ModelLoadError

__all__ = ["check_report", "log_library_warnings"]

logger = logging.getLogger(__name__)

MAX_EXAMPLES = 5
MAX_MESSAGE_CHARS = 8000
LIBRARY = "transformers"
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")


def check_report(
    path: Path,
    report: Mapping[str, Any],
    *,
    num_expected: int,
    names: Sequence[str],
    ignored_patterns: Iterable[str],
) -> None:
    """Log transformers' report; raise ModelLoadError for missing or mismatched tensors.

    `report` is the second value of `from_pretrained(..., output_loading_info=True)`.
    It does not list tied or optional tensors as missing. `names` are the tensors of the
    checkpoint. The report omits those that match `ignored_patterns`, which are the
    model's `_keys_to_ignore_on_load_unexpected`; here they count as unexpected.
    """
    missing = sorted(report["missing_keys"])
    mismatched = sorted(report["mismatched_keys"])
    ignored = [re.compile(pattern) for pattern in ignored_patterns]
    unused = sorted(
        {*report["unexpected_keys"]}
        | {name for name in names if any(p.search(name) for p in ignored)}
    )
    logger.log(
        logging.WARNING if missing or mismatched or unused else logging.INFO,
        "loading report",
        extra={
            "tensors": num_expected,
            "missing": len(missing),
            "missing_examples": missing[:MAX_EXAMPLES],
            "unexpected": len(unused),
            "unexpected_examples": unused[:MAX_EXAMPLES],
            "mismatched": len(mismatched),
            "mismatched_examples": [name for name, _, _ in mismatched[:MAX_EXAMPLES]],
        },
    )
    if mismatched:
        name, shape, expected_shape = mismatched[0]
        others = f" ({len(mismatched)} tensors differ)" if mismatched[1:] else ""
        raise ModelLoadError(
            f"{path} has {name} with the shape {list(shape)}, but its config.json "
            f"describes {list(expected_shape)}{others}: the config.json belongs to "
            "other weights; copy or stage both again"
        )
    if missing:
        hint = (
            f" It has {len(unused)} tensors that the model does not have: "
            f"{_first_names(unused)}."
            if unused
            else ""
        )
        raise ModelLoadError(
            f"{path} lacks {len(missing)} of the {num_expected} tensors of the model: "
            f"{_first_names(missing)}.{hint} Load the checkpoint that its config.json "
            "belongs to, or stage the weights again"
        )


@contextmanager
def log_library_warnings() -> Iterator[list[str]]:
    """Send transformers' warnings, including its loading report, to our log.

    While the context is active, they do not reach the handlers of transformers' logger.
    Yields a list that receives the text of each different warning.
    """
    library = logging.getLogger(LIBRARY)
    collector = _WarningCollector()
    handlers, level = library.handlers, library.level
    library.handlers = [collector]
    library.setLevel(logging.WARNING)
    try:
        yield collector.messages
    finally:
        library.handlers = handlers
        library.setLevel(level)


class _WarningCollector(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        text = _COLOURS.sub("", record.getMessage())[:MAX_MESSAGE_CHARS]
        if text not in self.messages:
            self.messages.append(text)
            logger.log(record.levelno, "transformers", extra={"text": text})


def _first_names(names: Sequence[str]) -> str:
    rest = len(names) - MAX_EXAMPLES
    return ", ".join(names[:MAX_EXAMPLES]) + (f" and {rest} more" if rest > 0 else "")

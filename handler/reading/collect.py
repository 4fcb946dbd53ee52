"""Collect what the engine says about the strips of a long page."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from handler.engine import EngineOutput, FinishReason
from handler.errors import EngineError, HandlerError
from handler.schema import Page, PageError, PageWarning

__all__ = ["Parts", "blank_output", "merge_outputs"]

_WORST_FIRST = (
    FinishReason.ERROR,
    FinishReason.ABORTED,
    FinishReason.REPETITION,
    FinishReason.LENGTH,
    FinishReason.STOP,
)


@dataclass(slots=True)
class Parts:
    """A page and the engine outputs of its strips, while they are read.

    A page that is read as a whole has one part, which is itself.
    """

    page: Page
    outputs: dict[int, EngineOutput] = field(default_factory=dict)

    @property
    def num(self) -> int:
        return max(1, len(self.page.strips))

    @property
    def is_complete(self) -> bool:
        return len(self.outputs) == self.num

    def fail(self, index: int, error: HandlerError) -> None:
        """Record that a strip could not be read."""
        self.outputs[index] = _failed_output(error)

    def fail_rest(self, error: HandlerError) -> None:
        """Record that the strips without an output were not read."""
        for index in range(self.num):
            if index not in self.outputs:
                self.fail(index, error)

    @property
    def in_order(self) -> list[EngineOutput]:
        """Return the outputs by strip, aborted ones as failed."""
        aborted = EngineError("the engine was stopped while it read this page")
        return [
            replace(found, error=PageError(aborted.code, aborted.detail))
            if found.finish_reason is FinishReason.ABORTED and found.error is None
            else found
            for _, found in sorted(self.outputs.items())
        ]

    @property
    def error(self) -> PageError | None:
        """Return the first error, and the strips that are missing for one."""
        missing = [
            (index, found.error)
            for index, found in enumerate(self.in_order, 1)
            if found.error is not None
        ]
        if not missing:
            return None
        # Pages are worth sending again if one of their strips is.
        _, error = next(
            (item for item in missing if item[1].code == EngineError.code), missing[0]
        )
        if len(missing) == self.num:
            return error
        numbers = ", ".join(str(index) for index, _ in missing)
        return PageError(
            error.code,
            f"strips {numbers} of {self.num} could not be read: {error.detail}",
        )

    @property
    def warnings(self) -> tuple[PageWarning, ...]:
        """Return warnings about strips that were cut short or repeat themselves."""
        if not self.page.strips:
            return self._warnings_of_whole()
        found = []
        truncated = self._numbers(
            lambda part: part.finish_reason is FinishReason.LENGTH
        )
        if truncated:
            found.append(
                PageWarning(
                    "truncated",
                    f"the model was stopped at max_output_tokens on strips {truncated} "
                    f"of {self.num}; raise it for the rest",
                )
            )
        repeated = self._numbers(lambda p: p.has_repetition)
        if repeated:
            found.append(
                PageWarning(
                    "repetition",
                    f"the model repeats itself on strips {repeated} of {self.num}, "
                    f"{_tries(*filter(lambda p: p.has_repetition, self.in_order))}",
                )
            )
        return tuple(found)

    def _warnings_of_whole(self) -> tuple[PageWarning, ...]:
        found = []
        [part] = self.in_order
        if part.finish_reason is FinishReason.LENGTH:
            found.append(
                PageWarning(
                    "truncated",
                    f"the model was stopped after {part.num_output_tokens} "
                    "tokens; raise max_output_tokens for the rest",
                )
            )
        if part.has_repetition:
            found.append(
                PageWarning(
                    "repetition",
                    f"the model repeats itself on this page, {_tries(part)}",
                )
            )
        return tuple(found)

    def _numbers(self, is_affected: Callable[[EngineOutput], bool]) -> str:
        return ", ".join(
            str(index)
            for index, part in enumerate(self.in_order, 1)
            if part.error is None and is_affected(part)
        )


def _tries(*parts: EngineOutput) -> str:
    """Say how many attempts were made to read parts that repeat themselves."""
    num = max(part.num_attempts for part in parts)
    if num < 2:
        return "which was read once; raise max_attempts to read it again"
    return f"in each of {num} attempts"


def blank_output() -> EngineOutput:
    """Return the output of a strip without ink, which the model never saw."""
    return EngineOutput("", FinishReason.STOP, num_attempts=0)


def _failed_output(error: HandlerError) -> EngineOutput:
    """Return the output of a strip that never reached the model."""
    return EngineOutput(
        "",
        FinishReason.ERROR,
        num_attempts=0,
        error=PageError(error.code, error.detail),
    )


def merge_outputs(parts: Sequence[EngineOutput]) -> EngineOutput:
    """Return one output for a page: sums, and the worst reason to finish.

    Strips that failed count for the attempts only. `page_seconds` is a sum as well,
    so that it stays in proportion to the tokens.
    """
    read = [part for part in parts if part.error is None] or list(parts)
    reasons = {part.finish_reason for part in read}
    return EngineOutput(
        engine_request_id=parts[0].engine_request_id,
        finish_reason=next(reason for reason in _WORST_FIRST if reason in reasons),
        text="\n\n".join(part.text for part in read if part.text),
        num_output_tokens=sum(part.num_output_tokens for part in read),
        num_forwards=sum(part.num_forwards for part in read),
        num_drafted_tokens=sum(part.num_drafted_tokens for part in read),
        num_accepted_tokens=sum(part.num_accepted_tokens for part in read),
        num_attempts=max(part.num_attempts for part in parts),
        has_repetition=any(part.has_repetition for part in read),
        page_seconds=sum(part.page_seconds for part in read),
        queue_seconds=max(part.queue_seconds for part in read),
    )

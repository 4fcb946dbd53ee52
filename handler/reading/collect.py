"""Collection of the engine's outputs for the strips of a long page."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from handler.engine import EngineOutput, FinishReason
from handler.errors import EngineError, HandlerError
from handler.schema import Page, PageError, PageWarning

__all__ = ["StripCollector", "blank_output", "merge_outputs"]

_WORST_FIRST = (
    FinishReason.ERROR,
    FinishReason.ABORTED,
    FinishReason.REPETITION,
    FinishReason.LENGTH,
    FinishReason.STOP,
)


@dataclass(slots=True)
class StripCollector:
    """Page that is being read, with the outputs of its strips so far.

    A page that is read as a whole counts as one strip with index 0.
    """

    page: Page
    outputs: dict[int, EngineOutput] = field(default_factory=dict)

    @property
    def num_strips(self) -> int:
        return max(1, len(self.page.strips))

    @property
    def is_complete(self) -> bool:
        return len(self.outputs) == self.num_strips

    def fail(self, index: int, error: HandlerError) -> None:
        """Record that a strip could not be read."""
        self.outputs[index] = _failed_output(error)

    def fail_missing(self, error: HandlerError) -> None:
        """Record that the strips without an output were not read."""
        for index in range(self.num_strips):
            if index not in self.outputs:
                self.fail(index, error)

    @property
    def ordered_outputs(self) -> list[EngineOutput]:
        """Outputs in the order of the strips; aborted ones get an error."""
        aborted = EngineError("the engine was stopped while it read this page")
        return [
            replace(output, error=PageError(aborted.code, aborted.detail))
            if output.finish_reason is FinishReason.ABORTED and output.error is None
            else output
            for _, output in sorted(self.outputs.items())
        ]

    @property
    def error(self) -> PageError | None:
        """Error of the page, which lists the strips that failed; None if none failed.

        If strips failed for different reasons, a retryable error takes precedence.
        """
        failed = [
            (number, output.error)
            for number, output in enumerate(self.ordered_outputs, 1)
            if output.error is not None
        ]
        if not failed:
            return None
        # Sending the page again can help if it can help one of its strips.
        _, error = next(
            (item for item in failed if item[1].code == EngineError.code), failed[0]
        )
        if len(failed) == self.num_strips:
            return error
        numbers = ", ".join(str(number) for number, _ in failed)
        return PageError(
            error.code,
            f"strips {numbers} of {self.num_strips} could not be read: {error.detail}",
        )

    @property
    def warnings(self) -> tuple[PageWarning, ...]:
        """Warnings about strips whose output was truncated or repeats itself."""
        if not self.page.strips:
            return self._whole_page_warnings()
        warnings = []
        truncated = self._strip_numbers(
            lambda part: part.finish_reason is FinishReason.LENGTH
        )
        if truncated:
            warnings.append(
                PageWarning(
                    "truncated",
                    f"the model was stopped at max_output_tokens on strips {truncated} "
                    f"of {self.num_strips}; raise it for the rest",
                )
            )
        repeated = self._strip_numbers(lambda part: part.has_repetition)
        if repeated:
            attempts = _describe_attempts(
                *(part for part in self.ordered_outputs if part.has_repetition)
            )
            warnings.append(
                PageWarning(
                    "repetition",
                    f"the model repeats itself on strips {repeated} of "
                    f"{self.num_strips}, {attempts}",
                )
            )
        return tuple(warnings)

    def _whole_page_warnings(self) -> tuple[PageWarning, ...]:
        warnings = []
        [part] = self.ordered_outputs
        if part.finish_reason is FinishReason.LENGTH:
            warnings.append(
                PageWarning(
                    "truncated",
                    f"the model was stopped after {part.num_output_tokens} "
                    "tokens; raise max_output_tokens for the rest",
                )
            )
        if part.has_repetition:
            warnings.append(
                PageWarning(
                    "repetition",
                    "the model repeats itself on this page, "
                    f"{_describe_attempts(part)}",
                )
            )
        return tuple(warnings)

    def _strip_numbers(self, is_affected: Callable[[EngineOutput], bool]) -> str:
        """Return the numbers of the affected strips that did not fail, as "1, 3"."""
        return ", ".join(
            str(index)
            for index, part in enumerate(self.ordered_outputs, 1)
            if part.error is None and is_affected(part)
        )


def _describe_attempts(*parts: EngineOutput) -> str:
    """Return a clause that says how often the repetitive strips were read."""
    num = max(part.num_attempts for part in parts)
    if num < 2:
        return "which was read once; raise max_attempts to read it again"
    return f"in each of {num} attempts"


def blank_output() -> EngineOutput:
    """Return the output for a strip without ink, which is not sent to the model."""
    return EngineOutput("", FinishReason.STOP, num_attempts=0)


def _failed_output(error: HandlerError) -> EngineOutput:
    """Return the output for a strip that did not reach the model."""
    return EngineOutput(
        "",
        FinishReason.ERROR,
        num_attempts=0,
        error=PageError(error.code, error.detail),
    )


def merge_outputs(parts: Sequence[EngineOutput]) -> EngineOutput:
    """Return one output for a page: summed counts and the worst finish reason.

    Failed strips contribute to the number of attempts only, unless all strips failed.
    `page_seconds` is a sum as well, so that it stays proportional to the tokens. Raises
    IndexError without any output.
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

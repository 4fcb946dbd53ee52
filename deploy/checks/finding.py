"""Result of a preflight check."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Finding"]


@dataclass(frozen=True, slots=True)
class Finding:
    """Problem that a check found.

    A fatal one would make a deployment fail; another one is only a note.
    """

    subject: str
    is_fatal: bool
    sentence: str
    hint: str | None = None

    def to_json(self) -> dict[str, str | bool | None]:
        return {
            "subject": self.subject,
            "fatal": self.is_fatal,
            "message": self.sentence,
            "hint": self.hint,
        }

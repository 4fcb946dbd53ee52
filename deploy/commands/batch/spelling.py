"""Old spelling of `transform`, from before it had verbs, rewritten to the new one.

transform [options] INPUT OUTPUT       ->  transform start [options] INPUT OUTPUT
transform [options] --retry-failed JOB ->  transform retry [options] JOB
transform [options] --retry-all JOB    ->  transform retry [options] --all JOB
transform [options] fetch JOB          ->  transform fetch [options] JOB
"""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["FLAGS_WITH_VALUE", "rewrite_old_spelling"]

VERBS = ("start", "status", "wait", "stop", "fetch", "retry")
RETRIES: dict[str, tuple[str, ...]] = {"--retry-failed": (), "--retry-all": ("--all",)}
FLAGS_WITH_VALUE = frozenset(
    {
        "--config",
        "--profile",
        "--region",
        "--endpoint-url",
        "--format",
        "--max-output-tokens",
        "--max-attempts",
        "--temperature",
        "--prompt",
        "--tables",
        "--into",
        "--instance-type",
        "--instance-count",
        "--within",
        "--results",
        "--timeout",
    }
)
"""Flags whose value is the next word: global ones and those of `transform`."""


def rewrite_old_spelling(arguments: Sequence[str]) -> list[str]:
    """Return the arguments with the verb of `transform` after the command's name.

    Arguments of other commands, and those in the new spelling, stay as they are. A
    word such as `status` is the verb unless it is the first of two words and the
    second is an s3:// address: then it is an INPUT of that name. `start` is always the
    verb, because OUTPUT is easily forgotten after it.
    """
    command = next(iter(_positionals(arguments)), None)
    if command is None or arguments[command] != "transform":
        return list(arguments)
    before, after = list(arguments[: command + 1]), list(arguments[command + 1 :])
    flags = after[: after.index("--")] if "--" in after else after
    for place, word in enumerate(flags):
        flag, equals, job = word.partition("=")
        if flag in RETRIES:
            new = [*RETRIES[flag], *([job] if equals else [])]
            return [*before, "retry", *after[:place], *new, *after[place + 1 :]]
    places = _positionals(after)
    words = [after[place] for place in places]
    is_input = len(words) == 2 and words[1].startswith("s3://")
    if words and words[0] in VERBS and (words[0] == "start" or not is_input):
        verb = after.pop(places[0])
        return [*before, verb, *after]
    return [*before, "start", *after] if words else list(arguments)


def _positionals(arguments: Sequence[str]) -> list[int]:
    """Return the places of the words that are neither flags nor values of flags."""
    places: list[int] = []
    is_value = False
    for place, word in enumerate(arguments):
        if is_value:
            is_value = False
        elif word == "--":
            return [*places, *range(place + 1, len(arguments))]
        elif word.startswith("-") and word != "-":
            is_value = word in FLAGS_WITH_VALUE
        else:
            places.append(place)
    return places

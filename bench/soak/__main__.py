"""Command line of the load and fault tests: `python -m bench.soak PART [options]`."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence

from bench.soak import hostile, kills, memory, mixed, readers, uploads

PARTS: Mapping[str, Callable[[Sequence[str]], int]] = {
    "memory": memory.main,
    "mixed": mixed.main,
    "kills": kills.main,
    "uploads": uploads.main,
    "hostile": hostile.main,
    "readers": readers.main,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a part with its own options, and return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m bench.soak", description=__doc__)
    parser.add_argument("part", nargs="?", choices=PARTS, default="memory")
    options, rest = parser.parse_known_args(arguments)
    return PARTS[options.part](rest)


if __name__ == "__main__":
    raise SystemExit(main())

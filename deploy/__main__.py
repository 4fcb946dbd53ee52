"""Entry point of `python -m deploy` and `chandra-sagemaker`."""

import sys

from deploy.console import Console
from deploy.errors import INTERRUPTED

__all__ = ["run"]


def run() -> int:
    """Run the command line; end cleanly on Ctrl-C while boto3 is imported.

    The import takes a second or more.
    """
    try:
        from deploy.cli import main
    except KeyboardInterrupt:
        Console(as_json="--json" in sys.argv).report_interrupt(
            "this command had changed nothing"
        )
        return INTERRUPTED
    return main()


if __name__ == "__main__":
    sys.exit(run())

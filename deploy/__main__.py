"""Entry point of `python -m deploy` and `chandra-sagemaker`."""

import sys

from deploy.console import Console
from deploy.errors import INTERRUPTED

__all__ = ["run"]


def run() -> int:
    """Run the command line, and return its exit status.

    Ctrl-C during the import of boto3, which takes a second or more, is reported without
    a traceback.
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

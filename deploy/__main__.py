"""`python -m deploy`: the same as `chandra-sagemaker`."""

import sys

from deploy.console import Console
from deploy.errors import INTERRUPTED

__all__ = ["run"]


def run() -> int:
    """Ctrl-C while boto3 is imported, a second or more, ends as it does later."""
    try:
        from deploy.cli import main
    except KeyboardInterrupt:
        Console(as_json="--json" in sys.argv).interrupted(
            "this command had changed nothing"
        )
        return INTERRUPTED
    return main()


if __name__ == "__main__":
    sys.exit(run())

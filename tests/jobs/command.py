"""`chandra-sagemaker` with shorter waits, as a program for tests that kill it.

Against AWS, the commands poll every ten or thirty seconds.
"""

from __future__ import annotations

import sys
import time

from deploy.cli import main

LONGEST_PAUSE_SECONDS = 1.0

if __name__ == "__main__":
    sys.exit(
        main(sleep=lambda seconds: time.sleep(min(seconds, LONGEST_PAUSE_SECONDS)))
    )

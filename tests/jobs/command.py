"""`chandra-sagemaker` as a process that tests kill, with short polling intervals.

The real command polls every ten or thirty seconds, because AWS calls cost money.
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

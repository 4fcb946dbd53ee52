"""`python -m deploy`: the same as `chandra-sagemaker`."""

import sys

from deploy.cli import main

sys.exit(main())

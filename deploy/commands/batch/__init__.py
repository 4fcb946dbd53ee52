"""Read a bucket of documents with machines that run only for the job.

INPUT is s3://bucket/prefix, one object, a file or folder here, or a manifest NAME.jsonl
of lines such as {"document": "s3://bucket/scan.pdf", "pages": "1-5"}. OUTPUT is
s3://bucket/prefix; each result is its document's name and `.out`. `status`, `wait`,
`stop` and `fetch` take the name of a job; `status` alone lists them. `fetch` writes
results under the names of their documents.
"""

from __future__ import annotations

from deploy.commands.batch.command import HELP, NAME, add_arguments, run

__all__ = ["HELP", "NAME", "add_arguments", "run"]

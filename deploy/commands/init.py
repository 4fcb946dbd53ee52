"""Command `init`: write a chandra.toml that explains every setting."""

from __future__ import annotations

import argparse

from deploy.commands.command import Command
from deploy.context import Context
from deploy.errors import AlreadyExistsError, ConfigError

EXAMPLE = """\
# One deployment: an endpoint of this name, and everything it needs.
# What is commented out is the default.

# At most 54 letters, digits and single dashes.
name = "chandra"

# region = "us-east-1"          # the profile's
# role = "arn:aws:iam::123456789012:role/mine"   # the one `iam --create` makes

[model]
# Where `model stage` puts the weights; in the region of the endpoint.
bucket = "my-bucket"
# prefix = "models"
# id = "datalab-to/chandra"
# revision = "..."              # the one staged last
# source = "s3"                 # "hub" fetches at every start, and needs the network
# weights_gb = 17.5             # checked against the memory of the GPU

[image]
# repository = "chandra-torchserve"
# uri = "...@sha256:..."        # the one pushed last
# tag = "..."                   # what it was pushed as; for people
# cuda = "12.8"                 # for an image that names none
# dockerfile = "Dockerfile"
# context = "."
# keep = 10                     # images that stay in the repository

[endpoint]
# Several: the first that has capacity, in this order.
# instance_types = ["ml.g6e.2xlarge"]
# instance_count = 1
# ami = "al2-ami-sagemaker-inference-gpu-3-1"    # driver 550, for CUDA 12.x
# startup_timeout_seconds = 1200
# download_timeout_seconds = 1200
# provision_timeout_seconds = 1200   # for each of several instance types
# volume_gb = 200               # refused by SageMaker where there are local disks

# [endpoint.environment]        # settings of the handler; never secrets
# CHANDRA_MAX_PAGES = 100

[network]
# isolation = true              # no network at all inside the container
# subnets = []
# security_groups = []
# kms_key = "alias/..."         # for weights and images

[update]
# strategy = "blue-green"       # "recreate": deletes first, errors until the new serves
# bake_seconds = 600            # the old machines stay this long
# use_alarms = true             # go back when one of `alarms` goes off

[capture]
# uri = "s3://..."              # keep requests and answers: customers' documents
# percent = 100

[transform]
# instance_type = "ml.g6e.2xlarge"
# max_instances = 10            # what a plan takes at most
# ami = "al2-ami-sagemaker-batch-gpu-535"        # driver 535, for CUDA 12.x
# weights = "tar"               # `model stage --tar`; "pull" needs isolation = false
# invocation_timeout_seconds = 3600  # for one document
# invocation_retries = 1        # each may cost as much again
# buckets = []                  # of documents and results, beside [model] bucket

# [transform.environment]       # of a job, in place of the endpoint's
# CHANDRA_MAX_PAGES = 1000

# The queue for thousands of documents, made by `async deploy`.
[asynchronous]
# bucket = "my-bucket"          # documents wait there, and results come
# prefix = "async"
# sources = ["scans/2026"]      # bucket/prefix of documents that lie in S3 already
# min_instances = 0             # no document, no machine, no cost
# max_instances = 2
# backlog_per_instance = 5      # documents that may wait for each machine
# concurrency = 8               # documents a machine reads at once; by its memory
# timeout_seconds = 3600        # for one document
# wait_seconds = 21600          # one that waited this long is given up
# idle_seconds = 3900           # machines go then; above timeout_seconds is safest
# scale_out_seconds = 600       # between one new machine and the next
# success_topic = "arn:..."     # SNS; the role may publish to them
# error_topic = "arn:..."

[tags]
# team = "documents"
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--force", action="store_true", help="overwrite an existing file"
    )


def run(context: Context, options: argparse.Namespace) -> int:
    path = context.config_path
    if path.exists() and not options.force:
        raise AlreadyExistsError(
            f"there is a {path} already",
            hint="edit it, or chandra-sagemaker init --force",
        )
    if not context.is_dry_run:
        try:
            path.write_text(EXAMPLE)
        except OSError as error:
            raise ConfigError(
                f"{path} cannot be written: {error.strerror}",
                hint="chandra-sagemaker init --config FILE, where you may write",
            ) from error
    verb = "would write" if context.is_dry_run else "wrote"
    context.console.print_result(
        {"config": str(path), "written": not context.is_dry_run},
        [
            f"{verb} {path}",
            "next: set name and [model] bucket, then chandra-sagemaker doctor",
        ],
    )
    return 0


COMMAND = Command(
    run=run,
    description="Write a chandra.toml that explains every setting.",
    examples=(
        "init",
        "init --config staging.toml --force",
    ),
    add_arguments=add_arguments,
)

"""Command `init`: write a chandra.toml that explains every setting."""

from __future__ import annotations

import argparse

from deploy.commands.command import Command
from deploy.context import Context
from deploy.errors import AlreadyExistsError, ConfigError

EXAMPLE = """\
# One deployment: an endpoint of this name, and everything it needs.
# Lines that are commented out show the default or an example.

# At most 54 letters, digits and single dashes.
name = "chandra"

# region = "us-east-1"          # default: region of the AWS profile
# Default role: the one that `iam --create` creates.
# role = "arn:aws:iam::123456789012:role/mine"

[model]
# `model stage` uploads the weights to this bucket, in the region of the endpoint.
bucket = "my-bucket"
# prefix = "models"
# id = "datalab-to/chandra"
# revision = "..."              # default: the revision that was staged last
# source = "s3"                 # "hub" downloads at every start; needs network access
# weights_gb = 17.5             # checked against the memory of the GPU

[image]
# repository = "chandra-torchserve"
# uri = "...@sha256:..."        # default: the image that was pushed last
# tag = "..."                   # tag of the pushed image; informational
# cuda = "12.8"                 # if the image does not state its CUDA version
# dockerfile = "Dockerfile"
# context = "."
# keep = 10                     # number of images kept in the repository

[endpoint]
# Of several types, SageMaker uses the first that has capacity.
# instance_types = ["ml.g6e.2xlarge"]
# instance_count = 1
# ami = "al2-ami-sagemaker-inference-gpu-3-1"    # driver 550, for CUDA 12.x
# startup_timeout_seconds = 1200
# download_timeout_seconds = 1200
# provision_timeout_seconds = 1200   # per type, if there are several
# volume_gb = 200               # SageMaker rejects it for types with local disks

# [endpoint.environment]        # settings of the handler; never secrets
# CHANDRA_MAX_PAGES = 100

[network]
# isolation = true              # the container has no network access
# subnets = []
# security_groups = []
# kms_key = "alias/..."         # for weights and images

[update]
# "recreate" deletes the endpoint first: errors until the new one serves.
# strategy = "blue-green"
# bake_seconds = 600            # how long the old machines are kept
# use_alarms = true             # roll back if an alarm of `alarms` goes off

[capture]
# uri = "s3://..."              # store requests and responses: customers' documents
# percent = 100

[transform]
# instance_type = "ml.g6e.2xlarge"
# max_instances = 10            # maximum that `transform` chooses
# ami = "al2-ami-sagemaker-batch-gpu-535"        # driver 535, for CUDA 12.x
# "tar" is made by `model stage --tar`; "pull" needs isolation = false.
# weights = "tar"
# invocation_timeout_seconds = 3600  # for one document
# invocation_retries = 1        # each may cost as much as the first attempt
# buckets = []                  # more buckets with documents or results

# [transform.environment]       # added to the endpoint's
# CHANDRA_MAX_PAGES = 1000

# The queue for thousands of documents, which `async deploy` creates.
[asynchronous]
# bucket = "my-bucket"          # exchange bucket for documents and results
# prefix = "async"
# sources = ["scans/2026"]      # bucket/prefix of documents that are already in S3
# min_instances = 0             # 0: an empty queue costs nothing
# max_instances = 2
# backlog_per_instance = 5      # waiting documents per machine
# concurrency = 8               # documents at once; default: what the memory holds
# timeout_seconds = 3600        # for one document
# wait_seconds = 21600          # maximum time in the queue
# Set idle_seconds above timeout_seconds, so that no document is interrupted.
# idle_seconds = 3900           # idle time before the machines stop
# scale_out_seconds = 600       # minimum time between two scale-outs
# success_topic = "arn:..."     # SNS topics, to which the role may publish
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
            f"{path} already exists",
            hint="edit it, or chandra-sagemaker init --force",
        )
    if not context.is_dry_run:
        try:
            path.write_text(EXAMPLE)
        except OSError as error:
            raise ConfigError(
                f"{path} cannot be written: {error.strerror}",
                hint="chandra-sagemaker init --config FILE, with a writable path",
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

"""Command `model`: upload the weights to S3 and verify every byte."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from deploy.aws.buckets import refuse_other_region
from deploy.commands.command import Command
from deploy.config import DeployConfig, ModelSource, read_config, write_lock
from deploy.console import megabytes
from deploy.context import DOCTOR_NEXT_STEP, Context
from deploy.errors import ConfigError, Interrupted
from deploy.resources import weights_uri
from deploy.weights.checkpoint import Checkpoint, check_name, recognise_checkpoint
from deploy.weights.files import (
    MANIFEST,
    TAR,
    WeightFile,
    Weights,
    compute_manifest_sha256,
    read_weights,
)
from deploy.weights.hub import HubFile
from deploy.weights.store import Store

# A part of an address: of weights in S3, and of what runs on them.
REVISION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", re.ASCII)
MODEL = re.compile(r"[A-Za-z0-9][\w.-]{0,99}(/[A-Za-z0-9][\w.-]{0,99})?", re.ASCII)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "action", choices=("stage",), help="upload missing files and verify the others"
    )
    parser.add_argument(
        "--from",
        dest="folder",
        type=Path,
        metavar="FOLDER",
        help="local folder with config.json (default: model.id from the Hugging Face "
        "Hub)",
    )
    parser.add_argument(
        "--model",
        metavar="ID",
        help="model name of the weights, such as datalab-to/chandra-ocr-2 (overrides "
        "model.id, and is recorded)",
    )
    parser.add_argument(
        "--revision",
        metavar="COMMIT",
        help="commit on the Hub, or a name for the weights of a folder (default: the "
        "newest commit, or a digest of the files)",
    )
    parser.add_argument(
        "--tar",
        action="store_true",
        help="also upload model.tar.gz, which batch transform needs",
    )


def run(context: Context, options: argparse.Namespace) -> int:
    config = context.config
    table = config.model
    if table.bucket is None:
        raise ConfigError(
            "model.bucket is not set: weights are staged in a bucket of yours",
            hint="set [model] bucket in chandra.toml",
        )
    if options.folder is not None and options.revision is not None:
        _refuse_bad_name(options.revision)
    if options.model is not None:
        _refuse_bad_model(options.model)
        config = replace(config, model=replace(table, id=options.model))
    # Before gigabytes are fetched, hashed and sent.
    note = refuse_other_region(
        context.aws,
        table.bucket,
        why="SageMaker reads weights from",
        then="chandra-sagemaker model stage",
    )
    if note is not None:
        context.console.say(f"note: {note}")
    store = Store(context.aws, table.bucket, kms_key=config.network.kms_key)
    if options.folder is None and context.is_dry_run:
        return _from_hub(context, config, options, store)
    weights, found = _weights(context, config, options)
    uri, prefix, key = _places(config, weights.revision)
    context.console.say(_recognised(weights, found, options))
    data = {
        "uri": uri,
        "model": weights.model,
        "revision": weights.revision,
        "files": len(weights.files),
        "bytes": weights.size,
        "manifest": uri + MANIFEST,
        "source": weights.source,
    }
    if context.is_dry_run:
        missing = store.find_missing_files(weights, prefix)
        lines = [
            f"would put {_sum(missing)} into {uri}"
            if missing
            else f"{uri} holds all of it: nothing would be put there"
        ]
        if options.tar and not store.holds_tar(weights.sha256, key):
            lines.append(f"would write s3://{table.bucket}/{key}")
        context.console.result(
            data | {"staged": False, "missing": [file.name for file in missing]}, lines
        )
        return 0
    try:
        num_uploaded = store.stage(
            weights, prefix, context.config.name, context.console.progress
        )
    except KeyboardInterrupt:
        raise Interrupted(
            f"what has arrived in {uri} stays there, and the same command goes on from "
            "it; there is no manifest yet, so nothing takes it for whole"
        ) from None
    lines = [
        f"{uri} holds {len(weights.files)} files, {megabytes(weights.size)}, verified "
        f"({num_uploaded} uploaded now)"
    ]
    # Without the model's name the next command would look for its revision elsewhere.
    recorded = {"id": weights.model, "revision": weights.revision}
    write_lock(context.config_path, "model", recorded)
    if options.tar:
        try:
            store.upload_tar(
                weights,
                key,
                lambda done, total: context.console.progress("tar", done, total),
            )
        except KeyboardInterrupt:
            raise Interrupted(
                f"{uri} is whole and recorded; what has arrived of {key} stays there, "
                "and the same command goes on from it"
            ) from None
        data["tar"] = f"s3://{table.bucket}/{key}"
        lines.append(f"for batch transform: s3://{table.bucket}/{key}")
    lines.append(DOCTOR_NEXT_STEP)
    used = read_config(context.config_path).model
    for name, value in recorded.items():
        if getattr(used, name) != value:
            lines.append(
                f"note: {context.config_path.name} sets model.{name}, which is used in "
                "its place"
            )
    context.console.result(data | {"staged": True, "uploaded": num_uploaded}, lines)
    return 0


def _weights(
    context: Context, config: DeployConfig, options: argparse.Namespace
) -> tuple[Weights, Checkpoint]:
    """Read and hash a folder, or what is fetched from the hub; recognise it first."""
    model = config.model.id
    folder, revision = options.folder, options.revision
    if folder is None:
        try:
            folder, revision = context.hub.fetch(model, revision)
        except KeyboardInterrupt:
            raise Interrupted(
                "nothing was put into S3; what was fetched stays in the hub's cache, "
                "and the same command goes on from it"
            ) from None
    found = recognise_checkpoint(folder)
    if options.folder is not None:
        check_name(folder, found, model, is_given=options.model is not None)
    weights = read_weights(
        folder,
        model,
        revision,
        progress=lambda done, total: context.console.progress(
            "read and hashed", done, total
        ),
    )
    source = {
        "from": "hub" if options.folder is None else "folder",
        "named_by": _named_by(found, model, options),
        **found.to_json(),
    }
    return replace(weights, source=source), found


def _named_by(found: Checkpoint, model: str, options: argparse.Namespace) -> str:
    """Return the source of the model's name."""
    if options.folder is None:
        return "hub"
    if options.model is not None:
        return "--model"
    return "config.json" if found.name == model else "model.id"


def _recognised(
    weights: Weights, found: Checkpoint, options: argparse.Namespace
) -> str:
    """Return a sentence on the model of the weights and the source of its name."""
    sentence = f"recognised {found.sentence}; staged as {weights.model}"
    if options.folder is None:
        return f"{sentence}, which the hub sent"
    if _named_by(found, weights.model, options) == "model.id":
        return f"{sentence}, as model.id says: config.json does not name it"
    return sentence


def _from_hub(
    context: Context, config: DeployConfig, options: argparse.Namespace, store: Store
) -> int:
    """Print names and sizes of what would be fetched and uploaded; fetch nothing."""
    model = config.model.id
    found = context.hub.inspect(model, options.revision)
    uri, prefix, key = _places(config, found.commit)
    there = store.list_sizes(prefix)
    missing = [f for f in found.weight_files if there.get(f.name) != f.size]
    lines = [
        f"would fetch {_sum(found.missing_files)} of {model} at {found.commit}, from "
        f"the hub into {found.folder}"
        if found.missing_files
        else f"{found.folder} holds all of {model} at {found.commit}: nothing would be "
        "fetched",
        f"would put {_sum(missing)} into {uri}"
        if missing
        else f"{uri} holds all of it, by name and size: nothing would be put there",
    ]
    if options.tar and not _has_tar(store, prefix, key):
        lines.append(f"would write s3://{store.bucket}/{key}")
    context.console.result(
        {
            "uri": uri,
            "model": model,
            "revision": found.commit,
            "files": len(found.weight_files),
            "bytes": sum(file.size for file in found.weight_files),
            "manifest": uri + MANIFEST,
            "staged": False,
            "missing": [file.name for file in missing],
            "fetch": [file.name for file in found.missing_files],
            "into": str(found.folder),
        },
        lines,
    )
    return 0


def _has_tar(store: Store, prefix: str, key: str) -> bool:
    """Return whether the tar was made of the files that the manifest lists."""
    manifest = store.read_manifest(prefix)
    return manifest is not None and store.holds_tar(
        compute_manifest_sha256(manifest), key
    )


def _places(config: DeployConfig, revision: str) -> tuple[str, str, str]:
    """Return the address and prefix of the weights, and the key of the tar."""
    table = replace(config.model, revision=revision, source=ModelSource.S3)
    uri = weights_uri(replace(config, model=table))
    prefix = uri.removeprefix(f"s3://{table.bucket}/")
    return uri, prefix, prefix.rstrip("/") + TAR


def _sum(files: Sequence[WeightFile | HubFile]) -> str:
    size = megabytes(sum(file.size for file in files))
    return f"{len(files)} file{'' if len(files) == 1 else 's'}, {size},"


def _refuse_bad_name(revision: str) -> None:
    if REVISION.fullmatch(revision) is None:
        raise ConfigError(
            f"--revision {revision} is no name for weights: letters, digits, dots, "
            "dashes and underscores, at most 100",
            hint="chandra-sagemaker model stage --from FOLDER --revision v1",
        )


def _refuse_bad_model(model: str) -> None:
    if MODEL.fullmatch(model) is None:
        raise ConfigError(
            f"--model {model} is not a model name: OWNER/NAME or NAME, of letters, "
            "digits, dots, dashes and underscores",
            hint="chandra-sagemaker model stage --model datalab-to/chandra",
        )


COMMAND = Command(
    run=run,
    description="Upload the weights to S3, where the endpoint reads them, and verify "
    "every byte against a manifest.",
    examples=(
        "model stage --dry-run",
        "model stage --from weights/ --tar",
    ),
    add_arguments=add_arguments,
)

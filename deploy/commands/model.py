"""Command `model`: upload the weights to S3 and verify every byte."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

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
    write_tar,
)
from deploy.weights.hub import HubFile
from deploy.weights.store import Store

# A revision is part of the S3 key of the weights and of the names of models.
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
    config = _read_request(context, options)
    store = _open_store(context, config)
    if options.folder is None and context.is_dry_run:
        return _report_download(context, config, options, store)
    weights, checkpoint = _read_weights(context, config, options)
    place = _place_of(config, weights.revision)
    context.console.say(_describe_checkpoint(weights, checkpoint, options))
    data = _to_json(weights, place)
    if context.is_dry_run:
        missing = store.find_missing_files(weights, place.prefix)
        needs_tar = options.tar and not store.holds_tar(weights.sha256, place.tar_key)
        return _report_plan(context, place, missing, data, needs_tar=needs_tar)
    with _describe_interrupt(
        f"the files uploaded to {place.uri} are kept, and the same command resumes the "
        "upload; there is no manifest yet, so it does not count as complete"
    ):
        num_uploaded = store.stage(
            weights, place.prefix, config.name, context.console.show_progress
        )
    # The model's name is recorded too: it is part of the address of the weights.
    recorded = {"id": weights.model, "revision": weights.revision}
    write_lock(context.config_path, "model", recorded)
    lines = [
        f"{place.uri} holds {len(weights.files)} files, {megabytes(weights.size)}, "
        f"verified ({num_uploaded} uploaded now)"
    ]
    if options.tar:
        with _describe_interrupt(
            f"{place.uri} is complete and recorded; the uploaded parts of "
            f"{place.tar_key} are kept, and the same command resumes the upload"
        ):
            if not store.holds_tar(weights.sha256, place.tar_key):
                with store.open_tar(weights.sha256, place.tar_key) as target:
                    write_tar(
                        weights, target, partial(context.console.show_progress, "tar")
                    )
        data["tar"] = place.tar_uri
        lines.append(f"for batch transform: {place.tar_uri}")
    lines += [DOCTOR_NEXT_STEP, *_override_notes(context, recorded)]
    context.console.print_result(
        data | {"staged": True, "uploaded": num_uploaded}, lines
    )
    return 0


@dataclass(frozen=True, slots=True)
class _Place:
    """Addresses in S3 of staged weights and of their tar."""

    bucket: str
    prefix: str
    """Key prefix of the weight files, with a slash at its end."""

    @property
    def uri(self) -> str:
        return f"s3://{self.bucket}/{self.prefix}"

    @property
    def tar_key(self) -> str:
        return self.prefix.rstrip("/") + TAR

    @property
    def tar_uri(self) -> str:
        return f"s3://{self.bucket}/{self.tar_key}"


def _read_request(context: Context, options: argparse.Namespace) -> DeployConfig:
    """Return the configuration with the model of --model.

    Raises ConfigError if no bucket is set, or --model or --revision is malformed.
    """
    config = context.config
    if config.model.bucket is None:
        raise ConfigError(
            "model.bucket is not set: weights are staged in a bucket of yours",
            hint="set [model] bucket in chandra.toml",
        )
    if options.folder is not None and options.revision is not None:
        _refuse_bad_name(options.revision)
    if options.model is None:
        return config
    _refuse_bad_model(options.model)
    return replace(config, model=replace(config.model, id=options.model))


def _open_store(context: Context, config: DeployConfig) -> Store:
    """Return the store of weights; raises ConfigError if it is in another region.

    The region is checked before gigabytes are downloaded, hashed and uploaded.
    """
    bucket = _bucket_of(config)
    note = refuse_other_region(
        context.aws,
        bucket,
        why="SageMaker reads weights from",
        then="chandra-sagemaker model stage",
    )
    if note is not None:
        context.console.say(f"note: {note}")
    return Store(context.aws, bucket, kms_key=config.network.kms_key)


def _bucket_of(config: DeployConfig) -> str:
    bucket = config.model.bucket
    assert bucket is not None, "checked by _read_request"
    return bucket


def _to_json(weights: Weights, place: _Place) -> dict[str, Any]:
    return {
        "uri": place.uri,
        "model": weights.model,
        "revision": weights.revision,
        "files": len(weights.files),
        "bytes": weights.size,
        "manifest": place.uri + MANIFEST,
        "source": weights.source,
    }


def _report_plan(
    context: Context,
    place: _Place,
    missing: Sequence[WeightFile],
    data: dict[str, Any],
    *,
    needs_tar: bool,
) -> int:
    """Print what would be uploaded, for --dry-run; return exit status 0."""
    lines = [
        f"would put {_describe_files(missing)} into {place.uri}"
        if missing
        else f"{place.uri} holds all of it: nothing would be put there"
    ]
    if needs_tar:
        lines.append(f"would write {place.tar_uri}")
    context.console.print_result(
        data | {"staged": False, "missing": [file.name for file in missing]}, lines
    )
    return 0


@contextmanager
def _describe_interrupt(sentence: str) -> Iterator[None]:
    """Replace KeyboardInterrupt by Interrupted, which says what exists in S3 now."""
    try:
        yield
    except KeyboardInterrupt:
        raise Interrupted(sentence) from None


def _override_notes(context: Context, recorded: Mapping[str, str]) -> list[str]:
    """Return a note for each recorded value that chandra.toml overrides."""
    used = read_config(context.config_path).model
    return [
        f"note: {context.config_path.name} sets model.{name}, which is used in its "
        "place"
        for name, value in recorded.items()
        if getattr(used, name) != value
    ]


def _read_weights(
    context: Context, config: DeployConfig, options: argparse.Namespace
) -> tuple[Weights, Checkpoint]:
    """Recognise and hash the weights of --from, or download them from the hub first.

    Raises NotFoundError without a config.json, ConfigError if it does not describe a
    supported model or names another one, and Interrupted on Ctrl-C during the download.
    """
    model = config.model.id
    folder, revision = options.folder, options.revision
    if folder is None:
        with _describe_interrupt(
            "nothing was uploaded to S3; the downloaded files are kept in the hub's "
            "cache, and the same command resumes the download"
        ):
            folder, revision = context.hub.fetch(model, revision)
    checkpoint = recognise_checkpoint(folder)
    if options.folder is not None:
        check_name(folder, checkpoint, model, is_given=options.model is not None)
    weights = read_weights(
        folder,
        model,
        revision,
        progress=partial(context.console.show_progress, "read and hashed"),
    )
    source = {
        "from": "hub" if options.folder is None else "folder",
        "named_by": _name_source(checkpoint, model, options),
        **checkpoint.to_json(),
    }
    return replace(weights, source=source), checkpoint


def _name_source(
    checkpoint: Checkpoint, model: str, options: argparse.Namespace
) -> str:
    """Return where the model's name is from: hub, --model, config.json or model.id."""
    if options.folder is None:
        return "hub"
    if options.model is not None:
        return "--model"
    return "config.json" if checkpoint.name == model else "model.id"


def _describe_checkpoint(
    weights: Weights, checkpoint: Checkpoint, options: argparse.Namespace
) -> str:
    """Return a sentence on the model of the weights and the source of its name."""
    sentence = f"recognised {checkpoint.sentence}; staged as {weights.model}"
    if options.folder is None:
        return f"{sentence}, which the hub sent"
    if _name_source(checkpoint, weights.model, options) == "model.id":
        return f"{sentence}, as model.id says: config.json does not name it"
    return sentence


def _report_download(
    context: Context, config: DeployConfig, options: argparse.Namespace, store: Store
) -> int:
    """Print what would be downloaded from the hub and uploaded, for --dry-run.

    Nothing is downloaded, so files are compared by name and size. Return exit status 0.
    """
    model = config.model.id
    hub_model = context.hub.inspect(model, options.revision)
    place = _place_of(config, hub_model.commit)
    stored_sizes = store.list_sizes(place.prefix)
    missing = [f for f in hub_model.weight_files if stored_sizes.get(f.name) != f.size]
    lines = [
        f"would fetch {_describe_files(hub_model.missing_files)} of {model} at "
        f"{hub_model.commit}, from the hub into {hub_model.folder}"
        if hub_model.missing_files
        else f"{hub_model.folder} holds all of {model} at {hub_model.commit}: nothing "
        "would be fetched",
        f"would put {_describe_files(missing)} into {place.uri}"
        if missing
        else f"{place.uri} holds all of it, by name and size: nothing would be put "
        "there",
    ]
    if options.tar:
        # There is no tar of all files before they have a manifest.
        manifest = store.read_manifest(place.prefix)
        if manifest is None or not store.holds_tar(
            compute_manifest_sha256(manifest), place.tar_key
        ):
            lines.append(f"would write {place.tar_uri}")
    context.console.print_result(
        {
            "uri": place.uri,
            "model": model,
            "revision": hub_model.commit,
            "files": len(hub_model.weight_files),
            "bytes": sum(file.size for file in hub_model.weight_files),
            "manifest": place.uri + MANIFEST,
            "staged": False,
            "missing": [file.name for file in missing],
            "fetch": [file.name for file in hub_model.missing_files],
            "into": str(hub_model.folder),
        },
        lines,
    )
    return 0


def _place_of(config: DeployConfig, revision: str) -> _Place:
    """Return where the weights of a revision are staged."""
    table = replace(config.model, revision=revision, source=ModelSource.S3)
    uri = weights_uri(replace(config, model=table))
    bucket = _bucket_of(config)
    return _Place(bucket, uri.removeprefix(f"s3://{bucket}/"))


def _describe_files(files: Sequence[WeightFile | HubFile]) -> str:
    """Return the number and size of files, as "2 files, 1.5 MB," with its comma."""
    size = megabytes(sum(file.size for file in files))
    return f"{len(files)} file{'' if len(files) == 1 else 's'}, {size},"


def _refuse_bad_name(revision: str) -> None:
    if REVISION.fullmatch(revision) is None:
        raise ConfigError(
            f"--revision {revision} is not a valid name for weights: use letters, "
            "digits, dots, dashes and underscores, at most 100",
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

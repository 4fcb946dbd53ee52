"""Command `image`: build the container image, push it to ECR, check it."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

from deploy.commands.command import Command
from deploy.commands.image.build import push_from_here, push_remotely, run_commands
from deploy.commands.image.report import (
    archive_data,
    archive_lines,
    is_accepted,
    is_archive_accepted,
    registry_data,
    registry_lines,
)
from deploy.config import read_config, write_lock
from deploy.console import megabytes
from deploy.context import DOCTOR_NEXT_STEP, Context
from deploy.errors import (
    ConfigError,
    ConflictError,
    Interrupted,
    NotFoundError,
    ResourceFailedError,
)
from deploy.image.archive import Archive, ArchivedImage
from deploy.image.build import compute_tag, find_engine
from deploy.image.configuration import WANTED_PLATFORM
from deploy.image.manifest import to_docker_manifest
from deploy.image.registry import (
    ImageState,
    Registry,
    compute_digest,
    describe_image,
    read_contents,
)
from deploy.image.repository import plan_repository
from deploy.image.upload import upload_blobs

ACTIONS_BY_FLAG = {"remote": ("push",), "archive": ("push", "check"), "fix": ("check",)}

# Reject invalid tags before the build, which may take an hour.
TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}", re.ASCII)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "action",
        choices=("build", "push", "check"),
        help="build: build the image on this machine. push: build it, push it to ECR "
        "and record its digest. check: read the pushed image back and check it",
    )
    parser.add_argument(
        "--tag",
        help="tag of the image (default: the git commit, or the tag in the archive; "
        "check: the image of chandra.toml)",
    )
    parser.add_argument(
        "--remote",
        action="store_true",
        help="push: build with CodeBuild, without docker or podman on this machine",
    )
    parser.add_argument(
        "--archive",
        type=Path,
        metavar="FILE",
        help="push or check: use an OCI archive instead of building, without docker or "
        "podman on this machine",
    )
    parser.add_argument(
        "--fix",
        action="store_true",
        help="check: replace an OCI manifest with one that SageMaker accepts",
    )


def run(context: Context, options: argparse.Namespace) -> int:
    _refuse_unsuitable_flags(options)
    if options.action == "build":
        return _build(context, options)
    if options.action == "check":
        check = _check if options.archive is None else _check_archive
        return check(context, options)
    if options.archive is not None:
        return _push_archive(context, options)
    table = context.config.image
    tag = options.tag or compute_tag(context.runner, table)
    uri = f"{context.identity.registry}/{table.repository}:{tag}"
    is_pushed = _find_image(context, tag) is not None
    # Without an image or a build engine, stop before the repository is created.
    if not (is_pushed or options.remote):
        find_engine(context.runner)
    context.executor().run(plan_repository(context.aws, context.config))
    if is_pushed:
        # Tags are immutable: a second push of a new build would be refused at its end.
        context.console.say(
            f"{table.repository}:{tag} already exists, so it was not built"
        )
        return _report_pushed(context, tag)
    try:
        if options.remote:
            push_remotely(context, uri, tag)
        else:
            push_from_here(context, uri, tag)
    except Interrupted:
        raise
    except KeyboardInterrupt:
        raise _push_interrupt(context) from None
    if context.is_dry_run:
        context.console.print_result({"image": uri, "pushed": False})
        return 0
    return _report_pushed(context, tag)


def _refuse_unsuitable_flags(options: argparse.Namespace) -> None:
    """Raise ConfigError for flags of another action, and for an invalid tag."""
    for flag, actions_of_flag in ACTIONS_BY_FLAG.items():
        if getattr(options, flag) and options.action not in actions_of_flag:
            raise ConfigError(
                f"--{flag} requires image {' or image '.join(actions_of_flag)}, not "
                f"image {options.action}",
                hint=f"chandra-sagemaker image {actions_of_flag[0]} --{flag}",
            )
    if options.archive is not None and (options.fix or options.remote):
        flag = "fix" if options.fix else "remote"
        raise ConfigError(
            f"--{flag} is for images in ECR, and --archive names a file",
            hint="chandra-sagemaker image push --archive FILE gives it the manifest "
            "that SageMaker accepts",
        )
    if options.tag is not None and TAG.fullmatch(options.tag) is None:
        raise ConfigError(
            f"--tag {options.tag} is not a valid tag: use letters, digits, dots, "
            "dashes and underscores, at most 128",
            hint=f"chandra-sagemaker image {options.action} --tag v1",
        )


def _build(context: Context, options: argparse.Namespace) -> int:
    table = context.config.image
    tag = options.tag or compute_tag(context.runner, table)
    uri = f"{table.repository}:{tag}"
    commands = find_engine(context.runner).build_commands(table, uri, tag)
    run_commands(context, commands)
    context.console.print_result(
        {"image": uri, "commands": commands},
        [] if context.is_dry_run else [f"built {uri}"],
    )
    return 0


def _push_archive(context: Context, options: argparse.Namespace) -> int:
    """Push the image of a file under --tag, or under the tag in the file.

    Return the exit status. Raises ConfigError without a single tag, and ConflictError
    if the tag is taken by another image.
    """
    config, path = context.config, options.archive
    archive = Archive(path)
    image = archive.select_image(options.tag)
    tag = _choose_tag(options, image)
    if tag is None and len(image.tags) > 1:
        raise ConfigError(
            f"--archive needs --tag: {path} gives its image {len(image.tags)} tags, "
            f"{' and '.join(image.tags)}",
            hint=f"chandra-sagemaker image push --archive {path} --tag {image.tags[0]}",
        )
    if tag is None:
        raise ConfigError(
            f"--archive needs --tag: {path} does not name one, and the commit here "
            "does not say what is in it",
            hint=f"chandra-sagemaker image push --archive {path} --tag NAME",
        )
    manifest = to_docker_manifest(image.manifest)
    digest = compute_digest(manifest)
    name = f"{config.image.repository}:{tag}"
    existing = _find_image(context, tag)
    if existing is not None and existing.digest != digest:
        raise ConflictError(
            f"{name} is {existing.digest} already, and tags cannot be moved; {path} "
            f"would be {digest}",
            hint=f"chandra-sagemaker image push --archive {path} --tag NAME",
        )
    context.executor().run(plan_repository(context.aws, config))
    if existing is not None:
        context.console.say(f"{name} already exists, so it was not uploaded")
        return _report_pushed(context, tag)
    address = context.identity.registry
    put = Registry(context.aws, config).plan_put(manifest, tag)
    blobs = archive.list_blobs(manifest)
    if context.is_dry_run:
        size = megabytes(sum(blob.size for blob in blobs))
        context.console.say(f"would upload {len(blobs)} blobs, {size}, of {path}")
        context.executor().run([put])
        context.console.print_result(
            archive_data(config, path, image, tag)
            | {"image": f"{address}/{name}", "pushed": False},
            archive_lines(config, path, image, tag),
        )
        return 0
    try:
        upload_blobs(
            context.aws,
            config.image.repository,
            archive,
            blobs,
            lambda done, total: context.console.show_progress("image", done, total),
        )
        context.executor().run([put])
    except KeyboardInterrupt:
        raise _push_interrupt(context) from None
    return _report_pushed(context, tag)


def _choose_tag(options: argparse.Namespace, image: ArchivedImage) -> str | None:
    """Return --tag, or the tag in the file if it is valid, or None."""
    own = image.tag if image.tag and TAG.fullmatch(image.tag) else None
    return options.tag or own


def _push_interrupt(context: Context) -> Interrupted:
    return Interrupted(
        f"repository {context.config.image.repository} exists and keeps the "
        "uploaded layers; no digest was recorded, so deployments continue to use the "
        "previous image"
    )


def _find_image(context: Context, tag: str) -> ImageState | None:
    repository = context.config.image.repository
    try:
        return describe_image(context.aws, tag, repositoryName=repository)
    except NotFoundError:
        return None


def _report_pushed(context: Context, tag: str) -> int:
    """Report the pushed image, and record it unless it is for another platform.

    Return the exit status, which is not 0 if SageMaker does not accept the image.
    """
    config = context.config
    repository = {"repositoryName": config.image.repository}
    state = describe_image(context.aws, tag, **repository)
    contents = read_contents(context.aws, state.digest, repository)
    data = registry_data(config, state, contents)
    if context.is_dry_run:
        name = f"{config.image.repository}:{tag}"
        context.console.print_result(
            data | {"image": f"{context.identity.registry}/{name}", "pushed": False},
            [f"{name} is {state.digest}: nothing would be pushed"],
        )
        return 0
    if contents.runs_on_sagemaker:
        _record_image(context, state)
    lines = registry_lines(config, state, contents)
    is_usable = is_accepted(config, state, contents)
    if is_usable:
        lines.append(DOCTOR_NEXT_STEP)
    context.console.print_result(data, lines)
    return 0 if is_usable else ResourceFailedError.exit_code


def _check(context: Context, options: argparse.Namespace) -> int:
    config = context.config
    repository = {"repositoryName": config.image.repository}
    reference = _reference(context, options)
    state = describe_image(context.aws, reference, config.image.tag, **repository)
    contents = read_contents(context.aws, state.digest, repository)
    data = registry_data(config, state, contents)
    if options.fix and not contents.runs_on_sagemaker:
        platform = contents.configuration and contents.configuration.platform
        raise ResourceFailedError(
            f"{config.image.repository}{state.name} is for {platform}: another "
            "manifest does not make it run on SageMaker",
            hint=f"chandra-sagemaker image push builds one for {WANTED_PLATFORM}",
        )
    if options.fix and not state.has_docker_manifest:
        call = Registry(context.aws, config).plan_repair(state)
        context.executor().run([call])
        repaired_tag = str(call.params["imageTag"])
        if context.is_dry_run:
            digest = call.params["imageDigest"]
            fixed = {"tag": repaired_tag, "digest": digest}
            context.console.print_result(data | {"fixed": fixed})
            return 0
        state = describe_image(context.aws, repaired_tag, **repository)
        contents = read_contents(context.aws, state.digest, repository)
        data = registry_data(config, state, contents)
        _record_image(context, state)
    # Read the lock file again, because a repaired image was just recorded.
    used = read_config(context.config_path)
    context.console.print_result(
        data, registry_lines(used, state, contents, tag=options.tag)
    )
    is_usable = is_accepted(used, state, contents)
    return 0 if is_usable else ResourceFailedError.exit_code


def _check_archive(context: Context, options: argparse.Namespace) -> int:
    """Check a file as `image push --archive` would, without calling AWS."""
    config, path = context.config, options.archive
    image = Archive(path).select_image(options.tag)
    tag = _choose_tag(options, image)
    is_usable = is_archive_accepted(config, image)
    lines = archive_lines(config, path, image, tag)
    if is_usable:
        lines.append(
            f"next: chandra-sagemaker image push --archive {path}"
            + ("" if tag == image.tag and tag else f" --tag {tag or 'NAME'}")
        )
    context.console.print_result(archive_data(config, path, image, tag), lines)
    return 0 if is_usable else ResourceFailedError.exit_code


def _reference(context: Context, options: argparse.Namespace) -> str:
    """Return the tag of --tag, or the digest of the image that was pushed last."""
    if options.tag:
        return str(options.tag)
    uri = context.config.image.uri
    if uri is None:
        raise ConfigError(
            "no image has been pushed yet", hint="chandra-sagemaker image push"
        )
    return uri.rpartition("@")[2]


def _record_image(context: Context, state: ImageState) -> None:
    """Write the image to the lock file, from which deployments take it.

    Print its digest, and a note if chandra.toml names another image.
    """
    table = context.config.image
    address = context.aws.identity().registry
    uri = f"{address}/{table.repository}@{state.digest}"
    path = write_lock(context.config_path, "image", {"uri": uri, "tag": state.tag})
    context.console.say(f"recorded {state.digest} in {path.name}")
    if read_config(context.config_path).image.uri != uri:
        context.console.say(
            f"note: {context.config_path.name} sets image.uri, which is used in its "
            "place"
        )


COMMAND = Command(
    run=run,
    description="Build the container image, push it to ECR, and check that SageMaker "
    "accepts it.",
    examples=(
        "image push --dry-run",
        "image check --tag v1",
    ),
    add_arguments=add_arguments,
)

"""Build the image, push it to ECR, and see that SageMaker will take it."""

from __future__ import annotations

import argparse
import re
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from deploy.aws.builds import WHEN_DONE, Builds, sources_prefix, write_zip
from deploy.aws.registry import ImageState, Registry
from deploy.aws.repository import repository_calls
from deploy.aws.roles import find_role, refuse_other_regions
from deploy.aws.store import Store
from deploy.checks import Finding, checks_of
from deploy.commands.context import WHAT_IS_MISSING, Context
from deploy.config import read_config, write_lock
from deploy.errors import (
    ConfigError,
    Interrupted,
    NotFoundError,
    ResourceFailedError,
)
from deploy.image.archive import Archive
from deploy.image.build import build_files, engine_of, tag_of
from deploy.weights import sha256_of

GOES_WITH = {"remote": "push", "archive": "push", "fix": "check"}

# Whoever builds for an hour is told before.
TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}", re.ASCII)

NAME = "image"
HELP = "build the image, push it to ECR, check that SageMaker takes it"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "action",
        choices=("build", "push", "check"),
        help="build: on this machine. push: build, push, record the digest. check: "
        "read back what was pushed",
    )
    parser.add_argument(
        "--tag", help="in place of the git commit; with check: which image"
    )
    parser.add_argument(
        "--remote",
        action="store_true",
        help="push: build with CodeBuild, for machines without docker or podman",
    )
    parser.add_argument(
        "--archive",
        type=Path,
        metavar="FILE",
        help="push: an OCI archive, under a --tag, without any engine here",
    )
    parser.add_argument(
        "--fix",
        action="store_true",
        help="check: give an OCI image the manifest that SageMaker takes",
    )


def run(context: Context, options: argparse.Namespace) -> int:
    actions: dict[str, Callable[[Context, argparse.Namespace], int]] = {
        "build": _build,
        "push": _push,
        "check": _check,
    }
    for flag, action in GOES_WITH.items():
        if getattr(options, flag) and options.action != action:
            raise ConfigError(
                f"--{flag} goes with image {action}, not with image {options.action}",
                hint=f"chandra-sagemaker image {action} --{flag}",
            )
    if options.tag is not None and TAG.fullmatch(options.tag) is None:
        raise ConfigError(
            f"--tag {options.tag} is no tag: letters, digits, dots, dashes and "
            "underscores, at most 128",
            hint=f"chandra-sagemaker image {options.action} --tag v1",
        )
    return actions[options.action](context, options)


def _build(context: Context, options: argparse.Namespace) -> int:
    table = context.config.image
    tag = options.tag or tag_of(context.runner, table)
    uri = f"{table.repository}:{tag}"
    commands = engine_of(context.runner).build(table, uri, tag)
    _run(context, commands)
    context.console.result(
        {"image": uri, "commands": commands},
        [] if context.is_dry_run else [f"built {uri}"],
    )
    return 0


def _push(context: Context, options: argparse.Namespace) -> int:
    table = context.config.image
    if options.archive is not None and options.tag is None:
        raise ConfigError(
            "--archive needs --tag: the commit here does not say what is in the file",
            hint=f"chandra-sagemaker image push --archive {options.archive} --tag NAME",
        )
    registry = Registry(context.aws, context.config)
    tag = options.tag or tag_of(context.runner, table)
    uri = f"{context.identity.registry}/{table.repository}:{tag}"
    is_pushed = _is_pushed(registry, tag)
    # Before anything is made, whether there is something to push or to build with.
    if options.archive is not None:
        Archive(options.archive).manifest()
    elif not (is_pushed or options.remote):
        engine_of(context.runner)
    context.run(repository_calls(context.aws, context.config))
    if is_pushed:
        # Tags are immutable: a second push of a new build would be refused at its end.
        context.console.say(f"{table.repository}:{tag} is there already: not built")
        return _pushed(context, registry, uri, tag)
    try:
        if options.archive is not None:
            _push_archive(context, registry, options.archive, tag)
        elif options.remote:
            _push_remotely(context, uri, tag)
        else:
            _push_from_here(context, registry, uri, tag)
    except Interrupted:
        raise
    except KeyboardInterrupt:
        raise Interrupted(
            f"repository {table.repository} is there, and layers that arrived stay; "
            "no digest was recorded, so deployments go on with the image before"
        ) from None
    return _pushed(context, registry, uri, tag)


def _is_pushed(registry: Registry, tag: str) -> bool:
    try:
        registry.image(tag)
    except NotFoundError:
        return False
    return True


def _pushed(context: Context, registry: Registry, uri: str, tag: str) -> int:
    """Look at what is there now, and record it."""
    table = context.config.image
    if context.is_dry_run:
        context.console.result({"image": uri, "pushed": False})
        return 0
    state = registry.image(tag)
    cuda = registry.cuda(state) or table.cuda
    _record(context, state, cuda)
    lines = _lines(context, state, cuda)
    if state.is_taken_by_sagemaker:
        lines.append(WHAT_IS_MISSING)
    context.console.result(_data(context, state, cuda), lines)
    return 0 if state.is_taken_by_sagemaker else ResourceFailedError.exit_code


def _push_from_here(context: Context, registry: Registry, uri: str, tag: str) -> None:
    engine = engine_of(context.runner)
    if not context.is_dry_run:
        address = context.identity.registry
        context.runner.run(engine.login(address), secret=registry.password())
    _run(context, engine.push(context.config.image, uri, tag))


def _push_archive(context: Context, registry: Registry, path: Path, tag: str) -> None:
    archive = Archive(path)
    if context.is_dry_run:
        context.console.say(f"would upload the blobs of {path}")
        return
    manifest = registry.upload(
        archive, lambda done, total: context.console.progress("image", done, total)
    )
    context.run([registry.put(manifest, tag)])


def _push_remotely(context: Context, uri: str, tag: str) -> None:
    bucket = context.config.model.bucket
    if bucket is None:
        raise ConfigError(
            "--remote needs a bucket for the build context",
            hint="set [model] bucket in chandra.toml",
        )
    builds = Builds(context.aws, context.config, context.identity)
    if find_role(context.aws, builds.role) is None:
        raise NotFoundError(
            f"there is no role {builds.role} for CodeBuild to act in",
            hint="chandra-sagemaker iam --create",
        )
    refuse_other_regions(context.aws, builds.role)
    files = build_files(context.runner, context.config.image)
    key = f"{sources_prefix(context.config.name)}{tag}.zip"
    context.run(builds.missing(key))
    if context.is_dry_run:
        context.console.say(f"would build {uri} in CodeBuild project {builds.project}")
        return
    with tempfile.NamedTemporaryFile(suffix=".zip") as packed:
        write_zip(files, packed)
        packed.flush()
        path = Path(packed.name)
        context.console.say(
            f"upload {path.stat().st_size:,} bytes to s3://{bucket}/{key}"
        )
        Store(context.aws, bucket).upload(
            key, path, sha256_of(path), context.console.progress
        )
    build = builds.start(uri, tag, key)
    context.console.say(f"build {build}")
    try:
        builds.wait(
            build,
            context.console.say,
            clock=context.clock,
            sleep=context.sleep,
            timeout_seconds=3600,
        )
    except KeyboardInterrupt:
        raise Interrupted(
            f"build {build} goes on in CodeBuild without us, and no digest was "
            f"recorded yet. {WHEN_DONE}"
        ) from None


def _check(context: Context, options: argparse.Namespace) -> int:
    registry = Registry(context.aws, context.config)
    state = registry.image(_reference(context, options))
    cuda = registry.cuda(state) or context.config.image.cuda
    if not state.is_taken_by_sagemaker and options.fix:
        call = registry.repair(state)
        context.run([call])
        if context.is_dry_run:
            context.console.result(_data(context, state, cuda))
            return 0
        state = registry.image(str(call.params["imageTag"]))
        _record(context, state, cuda)
    lines = _lines(context, state, cuda, tag=options.tag)
    context.console.result(_data(context, state, cuda), lines)
    return 0 if state.is_taken_by_sagemaker else ResourceFailedError.exit_code


def _reference(context: Context, options: argparse.Namespace) -> str:
    """What was asked for, else what was pushed last."""
    if options.tag:
        return str(options.tag)
    uri = context.config.image.uri
    if uri is None:
        raise ConfigError(
            "no image has been pushed yet", hint="chandra-sagemaker image push"
        )
    return uri.rpartition("@")[2]


def _record(context: Context, state: ImageState, cuda: str) -> None:
    """What a deployment uses from now on."""
    table = context.config.image
    uri = f"{context.identity.registry}/{table.repository}@{state.digest}"
    path = write_lock(
        context.config_path, "image", {"uri": uri, "tag": state.tag, "cuda": cuda}
    )
    context.console.say(f"recorded {state.digest} in {path.name}")
    if read_config(context.config_path).image.uri != uri:
        context.console.say(
            f"note: {context.config_path.name} sets image.uri, which is used in its "
            "place"
        )


def _data(context: Context, state: ImageState, cuda: str) -> dict[str, object]:
    return {
        "repository": context.config.image.repository,
        "tag": state.tag,
        "digest": state.digest,
        "media_type": state.media_type,
        "bytes": state.size,
        "taken_by_sagemaker": state.is_taken_by_sagemaker,
        "cuda": cuda,
        "findings": [finding.to_json() for finding in _driver_findings(context, cuda)],
    }


def _lines(
    context: Context, state: ImageState, cuda: str, *, tag: str | None = None
) -> list[str]:
    """`tag` is of an image that is not the one pushed last."""
    table = context.config.image
    lines = [f"{table.repository}:{state.tag} is {state.media_type}"]
    if state.is_taken_by_sagemaker:
        lines.append("SageMaker takes it")
    else:
        lines += [
            "SageMaker does not take it: it needs a Docker v2 schema 2 manifest",
            "next: chandra-sagemaker image check --fix"
            + (f" --tag {tag}" if tag else ""),
        ]
    drivers = _driver_findings(context, cuda)
    lines += [finding.sentence for finding in drivers]
    if not drivers:
        lines.append(f"CUDA {cuda} runs on the driver of {context.config.endpoint.ami}")
    return lines


def _driver_findings(context: Context, cuda: str) -> list[Finding]:
    config = context.config
    built = replace(config, image=replace(config.image, cuda=cuda))
    return [f for f in checks_of(built) if f.subject == config.endpoint.ami]


def _run(context: Context, commands: list[list[str]]) -> None:
    for command in commands:
        if context.is_dry_run:
            context.console.say("would run " + " ".join(command))
        else:
            context.runner.run(command)

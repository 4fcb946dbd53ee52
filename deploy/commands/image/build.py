"""Build and push an image, with an engine on this machine or with CodeBuild."""

from __future__ import annotations

import tempfile
from pathlib import Path

from deploy.aws.buckets import refuse_other_region
from deploy.context import Context
from deploy.errors import ConfigError, Interrupted, NotFoundError
from deploy.image.build import find_engine, select_build_files
from deploy.image.codebuild import AFTER_BUILD_HINT, Builds, sources_prefix, write_zip
from deploy.image.registry import Registry
from deploy.policies.roles import find_role, read_role_policies, refuse_other_regions
from deploy.weights.files import compute_sha256
from deploy.weights.store import Store

__all__ = ["push_from_here", "push_remotely", "run_commands"]


def push_from_here(context: Context, uri: str, tag: str) -> None:
    """Build `uri`, which ends with `tag`, with this machine's engine and push it.

    With --dry-run, print the commands. Raises ConfigError if no engine works.
    """
    engine = find_engine(context.runner)
    if not context.is_dry_run:
        address = context.identity.registry
        password = Registry(context.aws, context.config).get_password()
        context.runner.run(engine.login_command(address), secret=password)
    run_commands(context, engine.push_commands(context.config.image, uri, tag))


def push_remotely(context: Context, uri: str, tag: str) -> None:
    """Build and push `uri` with CodeBuild, and wait until the build has ended.

    Uploads the build context to model.bucket. With --dry-run, print the calls. Raises
    ConfigError or NotFoundError if the bucket or the role is missing or unsuitable, and
    Interrupted on Ctrl-C while the build runs.
    """
    bucket = context.config.model.bucket
    if bucket is None:
        raise ConfigError(
            "--remote needs a bucket for the build context",
            hint="set [model] bucket in chandra.toml",
        )
    builds = Builds(context.aws, context.config, context.identity)
    if find_role(context.aws, builds.role) is None:
        raise NotFoundError(
            f"role {builds.role}, which CodeBuild needs, does not exist",
            hint="chandra-sagemaker iam --create",
        )
    policies = read_role_policies(context.aws, builds.role)
    refuse_other_regions(builds.role, policies, context.aws.region)
    note = refuse_other_region(
        context.aws,
        bucket,
        why="CodeBuild reads the build context from",
        then="chandra-sagemaker image push --remote",
    )
    if note is not None:
        context.console.say(f"note: {note}")
    files = select_build_files(context.runner, context.config.image)
    key = f"{sources_prefix(context.config.name)}{tag}.zip"
    context.executor().run(builds.plan_project(key))
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
            key, path, compute_sha256(path), context.console.show_progress
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
            f"build {build} continues in CodeBuild, and no digest was "
            f"recorded yet. {AFTER_BUILD_HINT}"
        ) from None


def run_commands(context: Context, commands: list[list[str]]) -> None:
    """Run commands of other programs; with --dry-run, print them."""
    for command in commands:
        if context.is_dry_run:
            context.console.say("would run " + " ".join(command))
        else:
            context.runner.run(command)

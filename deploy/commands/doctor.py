"""Look at everything a deployment needs, and say how to mend what is wrong."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator

from deploy.aws.registry import Registry
from deploy.aws.store import Store
from deploy.checks import Finding, checks_of
from deploy.commands.context import Context
from deploy.commands.iam import POLICY
from deploy.commands.wanted import quota_checks
from deploy.errors import ConfigError, DeployError
from deploy.policies import execution_policy
from deploy.resources import weights_uri

NAME = "doctor"
HELP = "check credentials, quotas, role, bucket, image and driver; say how to mend them"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    del parser


def run(context: Context, options: argparse.Namespace) -> int:
    del options
    found: list[tuple[str, Finding | None]] = []
    for name, check in CHECKS.items():
        try:
            findings = list(check(context))
        except DeployError as error:
            findings = [Finding(name, True, error.message, error.hint)]
        found += [(name, finding) for finding in findings] or [(name, None)]
        if name in ("region", "credentials") and findings:
            # Nothing else can be asked.
            break
    lines = []
    for name, finding in found:
        if finding is None:
            lines.append(f"ok    {name}")
            continue
        lines.append(f"{'wrong' if finding.is_fatal else 'note '} {name}: "
                     f"{finding.sentence}")  # fmt: skip
        if finding.hint:
            lines.append(f"      try: {finding.hint}")
    problems = [f for _, f in found if f is not None]
    context.console.result(
        {
            "ok": [name for name, finding in found if finding is None],
            "findings": [finding.to_json() for finding in problems],
        },
        lines,
    )
    return 1 if any(finding.is_fatal for finding in problems) else 0


def _region(context: Context) -> Iterator[Finding]:
    if context.aws.region is None:
        raise ConfigError(
            "no region is set", hint="set region in chandra.toml, or add --region"
        )
    yield from ()


def _credentials(context: Context) -> Iterator[Finding]:
    context.aws.identity()
    yield from ()


def _machines(context: Context) -> Iterator[Finding]:
    yield from checks_of(context.config)


def _quotas(context: Context) -> Iterator[Finding]:
    yield from quota_checks(context, context.config)


def _role(context: Context) -> Iterator[Finding]:
    config = context.config
    name = config.role.rpartition("/")[2] if config.role else config.role_name
    role = context.account.role(name)
    if role is None:
        yield Finding(
            "role", True, f"there is no role {name}", "chandra-sagemaker iam --create"
        )
        return
    trusted = str(role.get("AssumeRolePolicyDocument", ""))
    if "sagemaker.amazonaws.com" not in trusted:
        yield Finding(
            "role",
            True,
            f"role {name} may not be taken by sagemaker.amazonaws.com",
            "chandra-sagemaker iam prints the trust policy that it needs",
        )
    if config.role is None and context.account.role_policy(
        name, POLICY
    ) != execution_policy(config, context.identity):
        yield Finding(
            "role",
            True,
            f"the policy of role {name} is not the one for this chandra.toml",
            "chandra-sagemaker iam --create",
        )


def _bucket(context: Context) -> Iterator[Finding]:
    config = context.config
    if config.model.source != "s3":
        yield Finding(
            "weights",
            False,
            "the container fetches the weights from the hub at every start, and needs "
            "the network for it",
        )
        return
    uri = weights_uri(config)
    bucket, _, prefix = uri.removeprefix("s3://").partition("/")
    answer = context.aws.call("s3", "get_bucket_location", Bucket=bucket)
    region = answer.get("LocationConstraint") or "us-east-1"
    if region != context.identity.region:
        yield Finding(
            "weights",
            True,
            f"bucket {bucket} is in {region}, and SageMaker reads weights from "
            f"{context.identity.region} only",
            "use a bucket in the region of the endpoint",
        )
    if Store(context.aws, bucket).manifest(prefix) is None:
        yield Finding(
            "weights",
            True,
            f"{uri} holds no weights that `model stage` finished",
            "chandra-sagemaker model stage",
        )


def _image(context: Context) -> Iterator[Finding]:
    uri = context.config.image.uri
    if uri is None:
        raise ConfigError(
            "no image has been pushed yet", hint="chandra-sagemaker image push"
        )
    state = Registry(context.aws, context.config).image(uri.rpartition("@")[2])
    if not state.is_taken_by_sagemaker:
        yield Finding(
            "image",
            True,
            f"the image is {state.media_type}, which SageMaker does not take",
            "chandra-sagemaker image check --fix",
        )


CHECKS: dict[str, Callable[[Context], Iterator[Finding]]] = {
    # Asks AWS nothing, so whoever has no credentials yet is told that as well.
    "machines": _machines,
    "region": _region,
    "credentials": _credentials,
    "quotas": _quotas,
    "role": _role,
    "weights": _bucket,
    "image": _image,
}

"""Command `doctor`: check everything that a deployment needs."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from deploy.checks import Finding, config_findings
from deploy.commands.command import Command
from deploy.commands.endpoint.steps.quotas import check_quotas
from deploy.context import Context
from deploy.endpoint.inspection import (
    image_findings,
    key_findings,
    network_findings,
    staged_findings,
    weights_findings,
)
from deploy.errors import ConfigError, DeployError
from deploy.policies import UNNAMED_POLICY, execution_policy, policy_name
from deploy.policies.roles import find_role, read_role_policies
from deploy.resources import weights_uri
from deploy.weights.integrity import check_folder, find_manifests

STAGED = ""
"""Value of --weights without PLACE: the weights that chandra.toml names."""
S3 = "s3://"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--weights",
        nargs="?",
        const=STAGED,
        metavar="PLACE",
        help="hash all weights in a folder or below s3://bucket/prefix (without PLACE: "
        "those that chandra.toml names), compare them with their manifest, and check "
        "nothing else",
    )


def run(context: Context, options: argparse.Namespace) -> int:
    if options.weights is not None:
        return _hash_weights(context, options.weights)
    # Read chandra.toml first, because every check needs it.
    context.config  # noqa: B018
    results: list[tuple[str, Finding | None]] = []
    for name, check in CHECKS.items():
        try:
            findings = list(check(context))
        except DeployError as error:
            findings = [Finding(name, True, error.message, error.hint)]
        results += [(name, finding) for finding in findings] or [(name, None)]
        if name in ("region", "credentials") and findings:
            # Without region or credentials no other check can call AWS.
            break
    return _report(context, results, "next: chandra-sagemaker plan, then deploy")


def _hash_weights(context: Context, place: str) -> int:
    """Hash all weights in a folder or in S3, and report those that are damaged.

    Return the exit status. `place` may be empty: the weights of chandra.toml.
    """
    results: list[tuple[str, Finding | None]] = []

    def progress(done: int, total: int) -> None:
        context.console.show_progress("read and hashed", done, total)

    if place == STAGED or place.startswith(S3):
        uri = weights_uri(context.config) if place == STAGED else place
        findings = staged_findings(context.aws, uri, progress)
        results += [(uri, finding) for finding in findings] or [(uri, None)]
    else:
        for folder in find_manifests(Path(place).expanduser()):
            findings = check_folder(folder, progress)
            results += [(str(folder), finding) for finding in findings] or [
                (str(folder), None)
            ]
    return _report(
        context, results, "every file has the sha256 that its manifest gives"
    )


def _report(
    context: Context, results: Sequence[tuple[str, Finding | None]], conclusion: str
) -> int:
    """Print the result of each check; return the exit status, 1 if one is fatal.

    `results` are names of checks with a finding; None: the check passed.
    """
    lines = []
    for name, finding in results:
        if finding is None:
            lines.append(f"ok    {name}")
            continue
        subject = name if name in CHECKS else finding.subject
        lines.append(
            f"{'wrong' if finding.is_fatal else 'note '} {subject}: {finding.sentence}"
        )
        if finding.hint:
            lines.append(f"      try: {finding.hint}")
    problems = [f for _, f in results if f is not None]
    is_well = not any(finding.is_fatal for finding in problems)
    if is_well:
        lines.append(conclusion)
    context.console.print_result(
        {
            "ok": [name for name, finding in results if finding is None],
            "findings": [finding.to_json() for finding in problems],
        },
        lines,
    )
    return 0 if is_well else 1


def _check_region(context: Context) -> list[Finding]:
    """Return no finding; raises ConfigError if no region is set."""
    if context.aws.region is None:
        raise ConfigError(
            "no region is set", hint="set region in chandra.toml, or add --region"
        )
    return []


def _check_credentials(context: Context) -> list[Finding]:
    """Return no finding; raises DeployError if AWS rejects the credentials."""
    context.aws.identity()
    return []


def _check_machines(context: Context) -> Iterator[Finding]:
    yield from config_findings(context.config)


def _check_quotas(context: Context) -> Iterator[Finding]:
    yield from check_quotas(context, context.config, with_update=True)


def _check_role(context: Context) -> Iterator[Finding]:
    config = context.config
    name = config.role.rpartition("/")[2] if config.role else config.role_name
    role = find_role(context.aws, name)
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
            f"sagemaker.amazonaws.com is not allowed to assume role {name}",
            "chandra-sagemaker iam prints the trust policy that it needs",
        )
    if config.role is not None:
        return
    region = context.identity.region
    policies = read_role_policies(context.aws, name)
    policy = execution_policy(config, context.identity)
    if policy not in (policies.get(policy_name(region)), policies.get(UNNAMED_POLICY)):
        yield Finding(
            "role",
            True,
            f"the policy for {region} of role {name} is not the one for this "
            "chandra.toml",
            "chandra-sagemaker iam --create",
        )


def _check_weights(context: Context) -> Iterator[Finding]:
    yield from weights_findings(context.aws, context.config)


def _check_image(context: Context) -> Iterator[Finding]:
    if context.config.image.uri is None:
        raise ConfigError(
            "no image has been pushed yet", hint="chandra-sagemaker image push"
        )
    yield from image_findings(context.aws, context.config)


def _check_network(context: Context) -> Iterator[Finding]:
    yield from network_findings(context.aws, context.config)
    yield from key_findings(context.aws, context.config)


CHECKS: dict[str, Callable[[Context], Iterable[Finding]]] = {
    # This check calls no AWS service, so it also runs without credentials.
    "machines": _check_machines,
    "region": _check_region,
    "credentials": _check_credentials,
    "quotas": _check_quotas,
    "role": _check_role,
    "weights": _check_weights,
    "image": _check_image,
    "network": _check_network,
}


COMMAND = Command(
    run=run,
    description="Check everything that a deployment needs, and print how to fix each "
    "problem.",
    examples=(
        "doctor",
        "doctor --weights s3://my-bucket/models/",
    ),
    add_arguments=add_arguments,
)

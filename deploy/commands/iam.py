"""Command `iam`: roles and policies of a deployment."""

from __future__ import annotations

import argparse
import json
from typing import Any

from deploy.commands.command import Command
from deploy.context import DOCTOR_NEXT_STEP, Context
from deploy.errors import ConfigError, ConflictError
from deploy.plan.actions import Call
from deploy.policies import (
    MAX_ROLE_CHARACTERS,
    UNNAMED_POLICY,
    build_policy,
    caller_policy,
    characters_of,
    execution_policy,
    policy_name,
    policy_regions,
    scheduler_policy,
    trust_policy,
)
from deploy.policies.roles import find_role, read_role_policies
from deploy.resources import OWNER_TAG, Identity, tag_list, tags_of

MANAGED_POLICY_CHARACTERS = 6144


def add_arguments(parser: argparse.ArgumentParser) -> None:
    what = parser.add_mutually_exclusive_group()
    what.add_argument(
        "--execution",
        dest="what",
        action="store_const",
        const="execution",
        help="print only the policy of the endpoint's role",
    )
    what.add_argument(
        "--caller",
        dest="what",
        action="store_const",
        const="caller",
        help="print only the policy for the credentials that run these commands",
    )
    what.add_argument(
        "--create",
        action="store_true",
        help="create the roles of the endpoint, the schedule and CodeBuild, with the "
        "policies for this region",
    )


def run(context: Context, options: argparse.Namespace) -> int:
    identity, config = context.identity, context.config
    if options.create:
        return _create(context, identity)
    documents = {
        "execution": execution_policy(config, identity),
        "caller": caller_policy(config, identity),
    }
    _note_policy_size(context, documents["caller"])
    if options.what is not None:
        document = documents[options.what]
        context.console.print_result(document, [json.dumps(document, indent=2)])
        return 0
    trust = trust_policy("sagemaker", identity.account)
    lines = [
        f"# role {config.role_name}: trust policy",
        json.dumps(trust, indent=2),
        f"# role {config.role_name}: permissions of the endpoint "
        f"(policy {policy_name(identity.region)})",
        json.dumps(documents["execution"], indent=2),
        "# permissions of the caller of these commands",
        json.dumps(documents["caller"], indent=2),
    ]
    context.console.print_result({"trust": trust, **documents}, lines)
    return 0


def _note_policy_size(context: Context, caller: dict[str, Any]) -> None:
    """Print a note if the policy is too large for a managed policy."""
    # IAM does not count white space.
    size = len(json.dumps(caller, separators=(",", ":")))
    if size > MANAGED_POLICY_CHARACTERS:
        context.console.warn(
            f"note: the caller's policy has {size:,} characters, and a managed policy "
            f"may have {MANAGED_POLICY_CHARACTERS:,}: put it inside the role that runs "
            "these commands, which may have 10,240"
        )


def _create(context: Context, identity: Identity) -> int:
    """Create the missing roles and set their policies; return exit status 0."""
    config = context.config
    roles = {
        f"{config.name}-scheduler": ("scheduler", scheduler_policy(config, identity)),
        f"{config.name}-build": ("codebuild", build_policy(config, identity)),
    }
    # A role that chandra.toml names is managed by the user.
    if config.role is None:
        roles[config.role_name] = ("sagemaker", execution_policy(config, identity))
    calls = [
        call
        for name, (service, policy) in roles.items()
        for call in _role_calls(context, identity, name, service, policy)
    ]
    context.executor().run(calls)
    context.console.print_result(
        {
            "roles": {name: identity.role_arn(name) for name in roles},
            "actions": [call.to_json() for call in calls],
        },
        _result_lines(context, calls),
    )
    return 0


def _result_lines(context: Context, calls: list[Call]) -> list[str]:
    if not calls:
        return ["the roles are up to date: no changes"]
    return [] if context.is_dry_run else [DOCTOR_NEXT_STEP]


def _role_calls(
    context: Context,
    identity: Identity,
    name: str,
    service: str,
    policy: dict[str, Any],
) -> list[Call]:
    """Return the calls that create the role and set its policy for this region.

    The policies of other regions are not changed. Raises ConflictError if the role
    belongs to something else.
    """
    calls = []
    role = find_role(context.aws, name)
    if role is None:
        calls.append(
            Call(
                "iam",
                "create_role",
                {
                    "RoleName": name,
                    "AssumeRolePolicyDocument": json.dumps(
                        trust_policy(service, identity.account)
                    ),
                    "Description": f"{OWNER_TAG} = {context.config.name}",
                    "Tags": tag_list(tags_of(context.config)),
                },
                f"create role {name} for {service}",
                may_exist=True,
            )
        )
    elif {"Key": OWNER_TAG, "Value": context.config.name} not in role.get("Tags", ()):
        raise ConflictError(
            f"there is a role {name} already, and it is not this deployment's",
            hint="set another name in chandra.toml, or role to its ARN",
        )
    existing = {} if role is None else read_role_policies(context.aws, name)
    return calls + _policy_calls(name, identity.region, policy, existing)


def _policy_calls(
    role: str, region: str, policy: dict[str, Any], existing: dict[str, dict[str, Any]]
) -> list[Call]:
    """Return the calls that set this region's policy; none if it is set already.

    Raises ConfigError if the policies would be too long for one role.
    """
    calls = []
    named = policy_name(region)
    # Earlier versions kept one policy in a role. Each `iam --create` replaced it with
    # the policy for its own region.
    is_replaced = policy_regions(existing).get(UNNAMED_POLICY, set()) == {region}
    if existing.get(named) != policy:
        kept = {
            name: document
            for name, document in existing.items()
            if name != named and not (is_replaced and name == UNNAMED_POLICY)
        }
        _refuse_if_too_long(role, region, policy, kept)
        calls.append(
            Call(
                "iam",
                "put_role_policy",
                {
                    "RoleName": role,
                    "PolicyName": named,
                    "PolicyDocument": json.dumps(policy),
                },
                f"set the policy for {region} of role {role}",
            )
        )
    if is_replaced:
        calls.append(
            Call(
                "iam",
                "delete_role_policy",
                {"RoleName": role, "PolicyName": UNNAMED_POLICY},
                f"delete policy {UNNAMED_POLICY} of role {role}: {named} replaces it",
                may_be_missing=True,
            )
        )
    return calls


def _refuse_if_too_long(
    role: str, region: str, policy: dict[str, Any], kept: dict[str, dict[str, Any]]
) -> None:
    """Raise ConfigError if the policies of a role would exceed IAM's limit."""
    size = sum(map(characters_of, (policy, *kept.values())))
    if size > MAX_ROLE_CHARACTERS:
        raise ConfigError(
            f"the policies of role {role} would have {size:,} characters with that for "
            f"{region}, and IAM takes {MAX_ROLE_CHARACTERS:,}; it has those of "
            f"{', '.join(sorted(kept))}",
            hint=f"set another name in the chandra.toml for {region}, which gives it "
            "roles of its own",
        )


COMMAND = Command(
    run=run,
    description="Print the roles and policies that a deployment needs, with as few "
    "permissions as its configuration allows, or create the roles.",
    examples=(
        "iam --caller",
        "iam --create --dry-run",
    ),
    add_arguments=add_arguments,
)

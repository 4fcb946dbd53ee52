"""What a deployment needs, looked at where it lies: weights, image, network, key."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from deploy.aws.buckets import bucket_region
from deploy.aws.client import AWSClient
from deploy.checks import (
    Finding,
    cuda_findings,
    platform_findings,
    unknown_cuda_finding,
)
from deploy.config import DeployConfig
from deploy.documents.document import split_uri
from deploy.errors import AccessDeniedError, NotFoundError
from deploy.image.registry import ImageContents, ImageState, contents_at, image_at
from deploy.resources import ImageAddress, image_address, weights_uri
from deploy.weights.files import MANIFEST, STAGING, abbreviate
from deploy.weights.integrity import compare_with_manifest
from deploy.weights.store import Store

__all__ = [
    "image_findings",
    "key_findings",
    "network_findings",
    "staged_findings",
    "weights_findings",
]


def weights_findings(aws: AWSClient, config: DeployConfig) -> list[Finding]:
    """Whether an endpoint finds all of its weights, in its own region.

    Raises ConfigError where the file does not say which weights.
    """
    if config.model.source != "s3":
        return [
            Finding(
                "weights",
                False,
                "the container fetches the weights from the hub at every start, and "
                "needs the network for it",
            )
        ]
    bucket = config.model.bucket
    uri = f"s3://{bucket}/"
    try:
        findings = list(_bucket(aws, bucket)) if bucket is not None else []
        if findings and config.model.revision is None:
            # The sooner it is said, the fewer gigabytes go to the wrong place.
            return findings
        uri = weights_uri(config)
        place, _, prefix = uri.removeprefix("s3://").partition("/")
        return [*findings, *_staged(Store(aws, place), uri, prefix)]
    except NotFoundError as error:
        return [Finding("weights", True, error.message, error.hint)]
    except AccessDeniedError as error:
        return [
            Finding(
                "weights",
                False,
                f"{uri} could not be looked at, nor checked: {error.message}",
                error.hint,
            )
        ]


def _bucket(aws: AWSClient, bucket: str) -> Iterator[Finding]:
    region = bucket_region(aws, bucket)
    if region != aws.region:
        yield Finding(
            "weights",
            True,
            f"bucket {bucket} is in {region}, and SageMaker reads weights from "
            f"{aws.region} only",
            "set [model] bucket in chandra.toml to one of the endpoint's region, then "
            "chandra-sagemaker model stage",
        )


def _staged(store: Store, uri: str, prefix: str) -> Iterator[Finding]:
    """What is there against what the manifest says was put there."""
    manifest = store.manifest(prefix)
    if manifest is None:
        yield Finding(
            "weights",
            True,
            f"{uri} holds no weights that `model stage` finished",
            "chandra-sagemaker model stage",
        )
        return
    found = store.sizes(prefix)
    named: dict[str, Any] = {f["name"]: f["size"] for f in manifest.get("files") or ()}
    missing = [name for name, size in named.items() if found.get(name) != size]
    others = sorted(found.keys() - named.keys() - {MANIFEST, STAGING})
    if missing:
        yield Finding(
            "weights",
            True,
            f"{len(missing)} of the {len(named)} files of {uri} are gone or of another "
            f"size: {abbreviate(missing)}",
            "chandra-sagemaker model stage puts them there again",
        )
    if others:
        yield Finding(
            "weights",
            True,
            f"{uri} holds {abbreviate(others)}, which its manifest does not name and "
            "the container would be given too",
            "take it away, or chandra-sagemaker model stage with another --revision",
        )


def staged_findings(
    aws: AWSClient, uri: str, progress: Callable[[int, int], None]
) -> list[Finding]:
    """Hash every file staged at a prefix, and return findings against its manifest."""
    bucket, prefix = split_uri(uri)
    prefix = f"{prefix.strip('/')}/" if prefix.strip("/") else ""
    store = Store(aws, bucket)
    sizes = store.sizes(prefix)
    if MANIFEST not in sizes:
        return [
            Finding(
                "weights",
                True,
                f"{uri} holds no weights that `model stage` finished",
                "chandra-sagemaker model stage",
            )
        ]
    return compare_with_manifest(
        uri,
        store.manifest(prefix),
        sizes,
        lambda name: store.content(prefix + name, sizes[name]),
        progress,
        hint="chandra-sagemaker model stage puts them there again",
    )


def image_findings(
    aws: AWSClient, config: DeployConfig, *, ami: str | None = None
) -> list[Finding]:
    """Check whether SageMaker takes and can run the image, in whoever's registry.

    `ami` is what its machines start from; None: endpoint.ami.
    """
    address = image_address(config.image.uri)
    if address is None:
        # What is no address of ECR is refused without asking anybody.
        return []
    if address.region != aws.region:
        return [
            Finding(
                "image",
                True,
                f"the image is in {address.region}, and an endpoint in {aws.region} "
                "needs one there",
                "chandra-sagemaker image push",
            )
        ]
    is_ours = address.account == aws.identity().account
    where = (
        address.repository
        if is_ours
        else f"{address.repository} of account {address.account}"
    )
    try:
        state = image_at(aws, address)
    except NotFoundError:
        return [
            Finding(
                "image",
                True,
                f"there is no image {address.digest} in {where}",
                "chandra-sagemaker image push, and no image.uri in chandra.toml",
            )
        ]
    except AccessDeniedError as error:
        return [
            Finding(
                "image",
                False,
                f"the image in {where} could not be looked at: {error.message}"
                + (
                    ""
                    if is_ours
                    else "; the policy of that repository has to let this account's "
                    "endpoint pull it, too"
                ),
                error.hint,
            )
        ]
    contents = contents_at(aws, address)
    found = _contents_findings(config, contents, ami or config.endpoint.ami)
    if not contents.runs_on_sagemaker:
        # Another manifest would not help.
        return found
    return [*_manifest_findings(config, state, address, is_ours=is_ours), *found]


def _manifest_findings(
    config: DeployConfig, state: ImageState, address: ImageAddress, *, is_ours: bool
) -> list[Finding]:
    if not state.has_docker_manifest:
        return [
            Finding(
                "image",
                True,
                f"the image is {state.media_type}, which SageMaker does not take",
                _repair(state, address, config)
                if is_ours
                else "whoever owns it: chandra-sagemaker image check --fix",
            )
        ]
    return []


def _contents_findings(
    config: DeployConfig, contents: ImageContents, ami: str
) -> list[Finding]:
    configuration = contents.configuration
    if configuration is not None:
        return [
            *platform_findings(configuration),
            *cuda_findings(config, configuration.cuda, ami),
        ]
    findings = [
        Finding(
            "image",
            False,
            "the configuration of the image could not be read, so its platform was not "
            f"checked: {contents.reason}",
            contents.hint,
        )
    ]
    if config.image.cuda is None:
        findings.append(unknown_cuda_finding(ami, "its configuration was not read"))
    return findings


def _repair(state: ImageState, address: ImageAddress, config: DeployConfig) -> str:
    """What repairs this one, and not the one that was pushed last."""
    command = "chandra-sagemaker image check --fix"
    if state.tag != state.digest:
        command += f" --tag {state.tag}"
    if address.repository != config.image.repository:
        command += f', with [image] repository = "{address.repository}"'
    return command


def network_findings(aws: AWSClient, config: DeployConfig) -> list[Finding]:
    """Whether subnets and security groups are there, and of one VPC."""
    network = config.network
    if not network.subnets:
        return []
    try:
        subnets = aws.call("ec2", "describe_subnets", SubnetIds=list(network.subnets))[
            "Subnets"
        ]
        groups = aws.call(
            "ec2", "describe_security_groups", GroupIds=list(network.security_groups)
        )["SecurityGroups"]
    except NotFoundError as error:
        return [
            Finding(
                "network",
                True,
                error.message,
                f"set [network] subnets and security_groups in chandra.toml to some of "
                f"{aws.region}",
            )
        ]
    findings = []
    places = {item["VpcId"] for item in (*subnets, *groups)}
    if len(places) > 1:
        findings.append(
            Finding(
                "network",
                True,
                "subnets and security groups are of several VPCs: "
                + ", ".join(sorted(places)),
                "set [network] in chandra.toml to those of one VPC",
            )
        )
    zones = {subnet["AvailabilityZone"] for subnet in subnets}
    if config.endpoint.instance_count > 1 and len(zones) == 1:
        findings.append(
            Finding(
                "network",
                False,
                f"all subnets are in {zones.pop()}, and several machines need two "
                "zones",
                "add a subnet of another zone to network.subnets",
            )
        )
    return findings


def key_findings(aws: AWSClient, config: DeployConfig) -> list[Finding]:
    """Whether the key is there, and can be used."""
    key = config.network.kms_key
    if key is None:
        return []
    try:
        found = aws.call("kms", "describe_key", KeyId=key)["KeyMetadata"]
    except NotFoundError as error:
        return [
            Finding(
                "encryption",
                True,
                f"there is no key {key} in {aws.region}: {error.message}",
                "set [network] kms_key in chandra.toml to a key of the endpoint's "
                "region",
            )
        ]
    if found["KeyState"] != "Enabled":
        return [
            Finding(
                "encryption",
                True,
                f"key {key} is {found['KeyState']}",
                f"aws kms enable-key --key-id {found['KeyId']}, or another "
                "network.kms_key",
            )
        ]
    return []

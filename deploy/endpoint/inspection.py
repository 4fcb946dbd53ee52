"""Preflight checks on AWS: weights, image, network and KMS key."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from deploy.aws.buckets import bucket_region
from deploy.aws.client import AWSClient
from deploy.checks import (
    Finding,
    cuda_findings,
    platform_findings,
    unknown_cuda_finding,
)
from deploy.config import DeployConfig, ModelSource
from deploy.documents.document import split_uri
from deploy.errors import AccessDeniedError, NotFoundError
from deploy.image.registry import (
    ImageContents,
    ImageState,
    describe_image,
    read_contents,
    repository_params,
)
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
    """Check that all weights are staged, in the region of the endpoint.

    Sizes of files are compared, not their contents. For weights of the hub, the only
    finding is a note. Raises ConfigError if model.bucket or the revision is not set.
    """
    if config.model.source is not ModelSource.S3:
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
        findings = []
        if bucket is not None and (region := bucket_region(aws, bucket)) != aws.region:
            findings.append(_other_region_finding(aws, bucket, region))
        if findings and config.model.revision is None:
            # Tell the user before gigabytes are uploaded to the wrong region.
            return findings
        uri = weights_uri(config)
        place, prefix = split_uri(uri)
        store = Store(aws, place)
        manifest = store.read_manifest(prefix)
        if manifest is None:
            return [*findings, _unstaged_finding(uri)]
        return [*findings, *_size_findings(uri, manifest, store.list_sizes(prefix))]
    except NotFoundError as error:
        return [Finding("weights", True, error.message, error.hint)]
    except AccessDeniedError as error:
        return [
            Finding(
                "weights",
                False,
                f"{uri} could not be checked: {error.message}",
                error.hint,
            )
        ]


def _other_region_finding(aws: AWSClient, bucket: str, region: str) -> Finding:
    return Finding(
        "weights",
        True,
        f"bucket {bucket} is in {region}, and SageMaker reads weights from "
        f"{aws.region} only",
        "set [model] bucket in chandra.toml to one of the endpoint's region, then "
        "chandra-sagemaker model stage",
    )


def _unstaged_finding(uri: str) -> Finding:
    return Finding(
        "weights",
        True,
        f"{uri} holds no weights that `model stage` finished",
        "chandra-sagemaker model stage",
    )


def _size_findings(
    uri: str, manifest: Mapping[str, Any], sizes: Mapping[str, int]
) -> Iterator[Finding]:
    """Compare the sizes of staged files with the manifest that `model stage` wrote."""
    named: dict[str, Any] = {f["name"]: f["size"] for f in manifest.get("files") or ()}
    missing = [name for name, size in named.items() if sizes.get(name) != size]
    others = sorted(sizes.keys() - named.keys() - {MANIFEST, STAGING})
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
            "delete it, or chandra-sagemaker model stage with another --revision",
        )


def staged_findings(
    aws: AWSClient, uri: str, progress: Callable[[int, int], None]
) -> Iterator[Finding]:
    """Hash every file staged below an s3:// address, and compare with its manifest.

    `progress` is called with the bytes that are hashed and their total.
    """
    bucket, prefix = split_uri(uri)
    prefix = f"{prefix.strip('/')}/" if prefix.strip("/") else ""
    store = Store(aws, bucket)
    sizes = store.list_sizes(prefix)
    if MANIFEST not in sizes:
        return iter([_unstaged_finding(uri)])
    return compare_with_manifest(
        uri,
        store.read_manifest(prefix),
        sizes,
        lambda name: store.read_content(prefix + name, sizes[name]),
        progress,
        hint="chandra-sagemaker model stage puts them there again",
    )


def image_findings(
    aws: AWSClient, config: DeployConfig, *, ami: str | None = None
) -> list[Finding]:
    """Check whether SageMaker supports and can run the image, in any registry of ECR.

    `ami` is the host image of its machines; None stands for endpoint.ami. An image that
    is not in ECR has no finding here.
    """
    address = image_address(config.image.uri)
    if address is None:
        # `registry_findings` reports an image that is not in ECR.
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
    where = repository_params(address)
    name = (
        address.repository
        if is_ours
        else f"{address.repository} of account {address.account}"
    )
    try:
        state = describe_image(aws, address.digest, **where)
    except NotFoundError:
        return [
            Finding(
                "image",
                True,
                f"there is no image {address.digest} in {name}",
                "chandra-sagemaker image push, and no image.uri in chandra.toml",
            )
        ]
    except AccessDeniedError as error:
        return [
            Finding(
                "image",
                False,
                f"the image in {name} could not be checked: {error.message}"
                + (
                    ""
                    if is_ours
                    else "; the policy of that repository has to let this account's "
                    "endpoint pull it, too"
                ),
                error.hint,
            )
        ]
    contents = read_contents(aws, address.digest, where)
    findings = _contents_findings(config, contents, ami or config.endpoint.ami)
    if not contents.runs_on_sagemaker:
        # Another manifest would not help an image for another platform.
        return findings
    return [*_manifest_findings(config, state, address, is_ours=is_ours), *findings]


def _manifest_findings(
    config: DeployConfig, state: ImageState, address: ImageAddress, *, is_ours: bool
) -> list[Finding]:
    """Check that the image has a Docker manifest.

    `is_ours` is True for a repository of this account, whose image can be repaired.
    """
    if not state.has_docker_manifest:
        return [
            Finding(
                "image",
                True,
                f"the image is {state.media_type}, which SageMaker does not support",
                _repair_command(state, address, config)
                if is_ours
                else "its owner can repair it: chandra-sagemaker image check --fix",
            )
        ]
    return []


def _contents_findings(
    config: DeployConfig, contents: ImageContents, ami: str
) -> list[Finding]:
    """Check platform and CUDA version of an image; notes if they were not read."""
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


def _repair_command(
    state: ImageState, address: ImageAddress, config: DeployConfig
) -> str:
    """Return the command that repairs an image, also if it was not pushed last."""
    command = "chandra-sagemaker image check --fix"
    if state.tag != state.digest:
        command += f" --tag {state.tag}"
    if address.repository != config.image.repository:
        command += f', with [image] repository = "{address.repository}"'
    return command


def network_findings(aws: AWSClient, config: DeployConfig) -> list[Finding]:
    """Check that subnets and security groups exist in one VPC, and in enough zones.

    Returns no finding if network.subnets is empty.
    """
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
    """Check that the KMS key exists and is enabled; no finding if none is set."""
    key = config.network.kms_key
    if key is None:
        return []
    try:
        metadata = aws.call("kms", "describe_key", KeyId=key)["KeyMetadata"]
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
    if metadata["KeyState"] != "Enabled":
        return [
            Finding(
                "encryption",
                True,
                f"key {key} is {metadata['KeyState']}",
                f"aws kms enable-key --key-id {metadata['KeyId']}, or another "
                "network.kms_key",
            )
        ]
    return []

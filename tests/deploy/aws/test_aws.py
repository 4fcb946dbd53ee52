"""Errors of AWS, and readings of `Account`, scripted with botocore's Stubber."""

from __future__ import annotations

from datetime import UTC, datetime

import boto3
import pytest
from botocore.exceptions import (
    ClientError,
    CredentialRetrievalError,
    EndpointConnectionError,
    LoginInsufficientPermissions,
    LoginRefreshRequired,
    NoCredentialsError,
    NoRegionError,
    ProfileNotFound,
    UnauthorizedSSOTokenError,
)
from botocore.parsers import ResponseParserError

from deploy import errors
from deploy.aws import AWSClient
from deploy.aws.faults import CODES, deploy_error_from
from deploy.endpoint.account import Account
from deploy.errors import (
    AccessDeniedError,
    ConfigError,
    ConflictError,
    CredentialsError,
    DeployError,
    NotFoundError,
    ResourceFailedError,
    TransientError,
)
from deploy.plan.actions import Call
from deploy.resources import OWNER_TAG

ARN = "arn:aws:sagemaker:us-east-1:123456789012:endpoint/ocr"
WHEN = datetime(2026, 11, 26, tzinfo=UTC)


def error_for(code, sentence=""):
    answer = {"Error": {"Code": code, "Message": sentence}}
    return deploy_error_from(
        ClientError(answer, "DescribeEndpoint"), "sagemaker describe"
    )


@pytest.mark.parametrize("code", CODES)
def test_each_known_code_gets_its_error_class(code):
    assert type(error_for(code)) is CODES[code]


@pytest.mark.parametrize(
    ("sentence", "kind"),
    [
        ('Could not find endpoint "ocr".', NotFoundError),
        ("Cannot create already existing model", errors.AlreadyExistsError),
        ("Cannot update in-progress endpoint", ConflictError),
        ("User is not authorized to perform: iam:PassRole", AccessDeniedError),
        ("1 validation error detected", DeployError),
    ],
)
def test_validation_errors_are_told_apart_by_message(sentence, kind):
    error = error_for("ValidationException", sentence)

    assert type(error) is kind
    assert sentence in error.message


def test_html_page_is_not_printed():
    """A load balancer answers with a page, which boto3 takes for an error of AWS."""
    error = error_for("500", "\n<!doctype html>\n<title>500</title>\n<p>sorry</p>\n")

    assert error.code == "busy"
    assert "received an HTML page" in error.message
    assert "<" not in error.message
    assert "--endpoint-url" in (error.hint or "")


def test_response_not_from_aws_is_a_transient_error():
    error = deploy_error_from(ResponseParserError("<html>a proxy"), "iam get_role")

    assert type(error) is TransientError
    assert error.message == ("iam get_role: received a response that is not from AWS")
    assert "--endpoint-url" in (error.hint or "")


def test_exceeded_quota_points_to_doctor(script, aws):
    scripted = script("sagemaker")
    scripted.expects("create_endpoint").refuses("ResourceLimitExceeded", "limit is 0")

    with scripted, pytest.raises(ResourceFailedError, match="limit is 0") as caught:
        aws.call(
            "sagemaker", "create_endpoint", EndpointName="o", EndpointConfigName="c"
        )

    assert "doctor" in (caught.value.hint or "")


@pytest.mark.parametrize(
    ("code", "sentence", "hint"),
    [
        ("ValidationException", "Unsupported manifest media type application/vnd.oci",
         "image check --fix"),
        ("ValidationException", "Could not access model data at s3://a/b/", "doctor"),
        ("ResourceLimitExceeded", "The account-level service limit is 1 Instances",
         "doctor names the quota"),
        ("NoSuchBucket", "The specified bucket does not exist", "make the bucket"),
        ("RepositoryNotFoundException", "no such repository", "image push"),
    ],
)  # fmt: skip
def test_known_reason_gets_the_hint_of_its_advice(code, sentence, hint):
    error = error_for(code, sentence)

    assert hint in (error.hint or "")
    assert sentence in error.message


def test_message_with_advice_contains_the_error_code():
    assert "ResourceLimitExceeded" in error_for("ResourceLimitExceeded", "is 0").message


def test_denied_call_names_action_and_policy_command(script, aws):
    scripted = script("sagemaker")
    scripted.expects("describe_endpoint").refuses("AccessDeniedException", "denied")

    with (
        scripted,
        pytest.raises(AccessDeniedError, match="describe_") as caught,
    ):
        aws.call("sagemaker", "describe_endpoint", EndpointName="ocr")

    assert "iam --caller" in (caught.value.hint or "")


@pytest.mark.parametrize(
    ("error", "kind", "sentence"),
    [
        (NoCredentialsError(), ConfigError, "no AWS credentials were found"),
        (NoRegionError(), ConfigError, "no region is set"),
        (ProfileNotFound(profile="ocr"), ConfigError, "ocr"),
        (
            EndpointConnectionError(endpoint_url="http://x"),
            TransientError,
            "be reached",
        ),
    ],
)
def test_errors_before_the_request_are_translated(error, kind, sentence):
    deploy_error = deploy_error_from(error, "sagemaker describe_endpoint")

    assert type(deploy_error) is kind
    assert sentence in deploy_error.message


@pytest.mark.parametrize(
    ("code", "sentence", "kind", "hint"),
    [
        ("ThrottlingException", "Rate exceeded", errors.BusyError, "wait a minute"),
        ("EC2ThrottledException", "", errors.BusyError, "wait a minute"),
        ("ExpiredToken", "The provided token has expired.", CredentialsError,
         "aws sso login"),
        ("RequestExpired", "Request has expired.", CredentialsError, "clock"),
        ("InvalidAccessKeyId", "does not exist in our records", CredentialsError,
         "aws configure list"),
        ("AuthFailure", "AWS was not able to validate the provided access credentials",
         CredentialsError, "aws configure list"),
        ("UnrecognizedClientException", "The security token is invalid",
         CredentialsError, "region that the account has not enabled"),
        ("400", "Bad Request", DeployError, "get-caller-identity"),
        ("AccessDenied", "User: a is not authorized to perform: kms:GenerateDataKey "
         "on resource: b", AccessDeniedError, "policy of the key"),
        ("KMS.DisabledException", "key is disabled", ConfigError, "describe-key"),
        ("KmsException", "key cannot be used", ConfigError, "policy of the key"),
        ("ValidationException", "Access denied to KMS key", DeployError,
         "policy of the key"),
        ("ValidationException", "Value 'x' at 'kmsKeyId' failed to satisfy constraint",
         DeployError, "doctor checks"),
        ("ValidationException", "The repository of your image a does not grant "
         "ecr:GetDownloadUrlForLayer, ecr:BatchGetImage", DeployError, "image push"),
    ],
)  # fmt: skip
def test_refusals_end_with_the_remedy_for_their_cause(code, sentence, kind, hint):
    error = error_for(code, sentence)

    assert type(error) is kind
    assert hint in (error.hint or "")


@pytest.mark.parametrize(
    "error",
    [
        UnauthorizedSSOTokenError(),
        LoginRefreshRequired(),
        CredentialRetrievalError(provider="custom-process", error_msg="ended with 1"),
    ],
)
def test_expired_logins_name_the_login_command(error):
    deploy_error = deploy_error_from(error, "sagemaker describe_endpoint")

    assert type(deploy_error) is CredentialsError
    assert "aws sso login" in (deploy_error.hint or "")


def test_a_login_without_permissions_has_not_expired():
    deploy_error = deploy_error_from(
        LoginInsufficientPermissions(), "sagemaker describe_endpoint"
    )

    assert "insufficient permissions" in deploy_error.message


def test_a_profile_that_does_not_exist_is_named():
    with pytest.raises(ConfigError, match="nobody"):
        AWSClient.connect(profile="nobody")


@pytest.mark.parametrize(
    ("call", "code"),
    [
        (Call("ecr", "create_repository", {"repositoryName": "ocr"}, "", True),
         "RepositoryAlreadyExistsException"),
        (Call("ecr", "delete_repository", {"repositoryName": "ocr"}, "", False, True),
         "RepositoryNotFoundException"),
    ],
)  # fmt: skip
def test_calls_that_may_ignore_an_error_return_nothing(call, code, script, aws):
    scripted = script("ecr")
    scripted.expects(call.operation, **call.params).refuses(code)

    with scripted:
        assert aws.perform(call) == {}


def description_of_endpoint(**more):
    return {
        "EndpointName": "ocr",
        "EndpointArn": ARN,
        "EndpointConfigName": "ocr-1",
        "EndpointStatus": "InService",
        "CreationTime": WHEN,
        "LastModifiedTime": WHEN,
        **more,
    }


def observe_endpoint(script, aws, *, tags, targets=(), **more):
    sagemaker, scaling = script("sagemaker"), script("application-autoscaling")
    sagemaker.expects("describe_endpoint", EndpointName="ocr").answers(
        **description_of_endpoint(**more)
    )
    sagemaker.expects("list_tags", ResourceArn=ARN).answers(
        Tags=[{"Key": k, "Value": v} for k, v in tags.items()]
    )
    scaling.expects("describe_scalable_targets").answers(ScalableTargets=list(targets))
    with sagemaker, scaling:
        state = Account(aws).read_endpoint("ocr")
    assert state is not None
    return state


def test_endpoint_with_the_owner_tag_is_ours(script, aws):
    ours = observe_endpoint(script, aws, tags={OWNER_TAG: "ocr"})
    theirs = observe_endpoint(script, aws, tags={"team": "ocr"})

    assert ours.is_ours
    assert not theirs.is_ours


def test_pending_update_shows_target_and_stage(script, aws):
    state = observe_endpoint(
        script,
        aws,
        tags={OWNER_TAG: "ocr"},
        EndpointStatus="Updating",
        PendingDeploymentSummary={
            "EndpointConfigName": "ocr-2",
            "ProductionVariants": [
                {"VariantName": "AllTraffic", "VariantStatus": [{"Status": "Baking"}]}
            ],
        },
    )

    assert state.pending_config == "ocr-2"
    assert state.stages == ("Baking",)


def test_missing_endpoint_is_none(script, aws):
    scripted = script("sagemaker")
    scripted.expects("describe_endpoint").refuses(
        "ValidationException", "Could not find endpoint"
    )

    with scripted:
        assert Account(aws).read_endpoint("ocr") is None


def test_invocation_is_sent_once_with_a_long_timeout(aws):
    config = aws.client("sagemaker-runtime").meta.config

    assert config.read_timeout == 70
    assert config.retries["total_max_attempts"] == 1


def test_failed_object_deletion_is_an_error(script, aws):
    scripted = script("s3")
    scripted.expects("delete_objects").answers(
        Errors=[{"Key": "a", "Code": "AccessDenied", "Message": "Access Denied"}]
    )
    call = Call("s3", "delete_objects", {"Bucket": "w", "Delete": {"Objects": []}}, "x")

    with scripted, pytest.raises(ResourceFailedError, match="1 objects failed"):
        aws.perform(call)


def test_invalid_endpoint_url_is_a_config_error():
    client = AWSClient(
        boto3.Session("a", "b", region_name="us-east-1"), endpoint_url="not-an-address"
    )

    with pytest.raises(ConfigError, match="not-an-address") as caught:
        client.call("sagemaker", "list_endpoints")

    assert "--endpoint-url" in (caught.value.hint or "")


def test_history_ignores_configs_of_other_prefixes(script, aws):
    scripted = script("sagemaker")
    scripted.expects("list_endpoint_configs", NameContains="ocr-").answers(
        EndpointConfigs=[
            {
                "EndpointConfigName": "my-ocr-3f9a01bc",
                "EndpointConfigArn": ARN.replace("endpoint/ocr", "endpoint-config/m"),
                "CreationTime": WHEN,
            }
        ]
    )

    with scripted:
        assert Account(aws).history("ocr") == []


@pytest.mark.parametrize(
    ("code", "status", "kind"),
    [
        ("SomethingNew", 503, TransientError),
        ("SomethingNew", 429, TransientError),
        ("SomethingNew", 400, DeployError),
        ("RequestTimeout", 400, TransientError),
    ],
)
def test_unknown_codes_are_transient_by_http_status(code, status, kind):
    response = {
        "Error": {"Code": code, "Message": "no"},
        "ResponseMetadata": {"HTTPStatusCode": status},
    }

    deploy_error = deploy_error_from(
        ClientError(response, "DescribeEndpoint"), "describing"
    )

    assert type(deploy_error) is kind

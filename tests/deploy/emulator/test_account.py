"""Tests of the emulated account."""

from __future__ import annotations

from contextlib import closing

import boto3

from deploy.emulator.account import EmulatedAccount
from tests.deploy.emulator.conftest import CLIENT_CREDENTIALS, REGION


def create_s3_client(account):
    return boto3.client(
        "s3", endpoint_url=account.address, region_name=REGION, **CLIENT_CREDENTIALS
    )


def test_new_account_has_no_resources_of_an_earlier_one():
    with closing(EmulatedAccount()) as first:
        create_s3_client(first).create_bucket(Bucket="scans")
        assert create_s3_client(first).list_buckets()["Buckets"]

    with closing(EmulatedAccount()) as second:
        assert not create_s3_client(second).list_buckets()["Buckets"]

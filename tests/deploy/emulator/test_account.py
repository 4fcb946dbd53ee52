"""Tests of the emulated account."""

from __future__ import annotations

from contextlib import closing

import boto3

from deploy.emulator.account import EmulatedAccount
from tests.deploy.emulator.conftest import KEYS, REGION


def s3(account):
    return boto3.client("s3", endpoint_url=account.address, region_name=REGION, **KEYS)


def test_new_account_has_no_resources_of_an_earlier_one():
    with closing(EmulatedAccount()) as first:
        s3(first).create_bucket(Bucket="scans")
        assert s3(first).list_buckets()["Buckets"]

    with closing(EmulatedAccount()) as second:
        assert not s3(second).list_buckets()["Buckets"]

"""Client of AWS, and the only package of `deploy` that imports boto3.

Operations that change something are `Call` values, which `AWSClient.perform` executes.
Other modules read through the methods of `AWSClient`.
"""

from deploy.aws.client import AWSClient

__all__ = ["AWSClient"]

"""Every AWS call the project makes, and nothing else. The only boto3 of this package.

What changes something is a `Call`, made by `AWSClient.perform`; what reads is a
function or a class of the module that is named for what it reads.
"""

from deploy.aws.client import AWSClient

__all__ = ["AWSClient"]

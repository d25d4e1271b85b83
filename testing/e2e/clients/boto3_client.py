"""A boto3 client for the server of the test, and a check of refusals."""

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError, ConnectionError, HTTPClientError

from common import CA, ENDPOINT, equal, fail

# How often a refusal is asked for whose connection broke off first.
ATTEMPTS = 4


def client(access_key=None, secret_key=None, **config):
    """A client with the SDK's defaults, but that a failure shows at once and not after retries."""
    options = {"retries": {"total_max_attempts": 1}, "signature_version": "s3v4", **config}
    return boto3.client(
        "s3",
        endpoint_url=ENDPOINT,
        verify=CA,
        aws_access_key_id=access_key,
        aws_secret_access_key=secret_key,
        config=Config(**options),
    )


s3 = client()


def error_of(call, *arguments, **named):
    """The code and status of an error; fails where there is none."""
    try:
        call(*arguments, **named)
    except ClientError as error:
        answer = error.response
        return answer["Error"]["Code"], answer["ResponseMetadata"]["HTTPStatusCode"]
    return fail(f"{call.__name__} was not refused: {arguments} {named}")


def refused(code, status, call, *arguments, **named):
    """Demands an error with this code and status."""
    what = f"{call.__name__} {arguments[:1]} { {name: str(value)[:60] for name, value in named.items()} }"
    for _ in range(ATTEMPTS - 1):
        try:
            return equal(error_of(call, *arguments, **named), (code, status), what)
        except (ConnectionError, HTTPClientError):
            # botocore waits a second for "100 Continue" and then sends its body all the same: on a busy machine that
            # can cross the refusal, whose connection is closed, as any server may (RFC 9110, section 10.1.1).
            continue
    equal(error_of(call, *arguments, **named), (code, status), what)

"""Asks "who am I" as a Python program would: the secret from Python's keyring, the call by the SDK.

    sdk.py PROFILE URL

URL is the management URL. Prints the answer as one line of JSON, and where the secret came from
on standard error. Exit status 3: the keyring has no such secret.
"""

import json
import sys

import keyring
from baseten.client import ManagementClient

SERVICE = "baseten-profile"


def main(profile: str, url: str) -> int:
    secret = keyring.get_password(SERVICE, profile)
    print(f"keyring: {keyring.get_keyring()}", file=sys.stderr)
    if secret is None:
        return 3
    with ManagementClient(api_key=bearer(secret), base_url_override=url) as client:
        print(client.api.get_users_me().model_dump_json())
    return 0


def bearer(secret: str) -> str:
    """What the SDK is given: an API key as it is, or the access token of a login."""
    return json.loads(secret)["access_token"] if secret.startswith("{") else secret


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))

"""What the authentication classes share: the header, and what to do after a 401."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Optional

from ._credentials import Credential
from ._errors import NotLoggedIn

_LOG = logging.getLogger("baseten_auth")


def authorize(request: Any, credential: Credential) -> None:
    """Puts the credential into the request's headers."""
    request.headers["Authorization"] = f"{credential.token_type} {credential.token}"


def refused_token(response: Any) -> Optional[str]:
    """The token that was answered with 401.

    It is taken from the request that was answered. After a redirect to another host, that request
    has no token: the other host must not get one, or cause a refresh.
    """
    header = response.request.headers.get("Authorization")
    if response.status_code != 401 or not header:
        return None
    return str(header).partition(" ")[2] or None


@contextmanager
def no_other_token() -> Iterator[None]:
    """If there is no other token, keeps the server's 401 and logs the reason."""
    try:
        yield
    except NotLoggedIn as error:
        _LOG.warning("%s", error)

"""Tokens of the user who is logged in with ``baseten auth login``.

>>> import baseten_auth
>>> baseten_auth.get_token()  # doctest: +SKIP

The program ``baseten``, which comes with this package, keeps the login and refreshes it, once for
all processes of the machine. This module asks it, and keeps the answer in memory.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ._credentials import (
    Credential,
    async_token_provider,
    clear_cache,
    credential,
    get_token,
    token_provider,
)
from ._errors import (
    AuthError,
    NoSuchProfile,
    NotLoggedIn,
    ProgramNotFound,
    Refused,
    ServerError,
    UsageError,
)
from ._requests import RequestsAuth

if TYPE_CHECKING:
    from ._anthropic import anthropic_credentials as anthropic_credentials
    from ._httpx import HTTPXAuth as HTTPXAuth

__all__ = [
    "AuthError",
    "Credential",
    "NoSuchProfile",
    "NotLoggedIn",
    "ProgramNotFound",
    "Refused",
    "RequestsAuth",
    "ServerError",
    "UsageError",
    "async_token_provider",
    "clear_cache",
    "credential",
    "get_token",
    "token_provider",
]


def __getattr__(name: str) -> Any:
    """Imports names that need another package on first use. ``import *`` does not have them."""
    if name == "HTTPXAuth":
        from ._httpx import HTTPXAuth

        return HTTPXAuth
    if name == "anthropic_credentials":
        from ._anthropic import anthropic_credentials

        return anthropic_credentials
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), "HTTPXAuth", "anthropic_credentials"])

"""Authentication for httpx, and for httpx2, which newer SDKs use."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator
from contextlib import suppress
from importlib import import_module
from typing import TYPE_CHECKING, Any, Optional

from ._credentials import MinTTL, another, async_another, async_credential, credential
from ._retry import authorize, no_other_token, refused_token

if TYPE_CHECKING:
    import httpx
    import httpx2

    class _Auth(httpx.Auth, httpx2.Auth):  # type: ignore[misc]
        pass

else:

    def _classes() -> dict[type, None]:
        """From the installed packages; one may be an alias of the other."""
        found = {}
        for name in ("httpx", "httpx2"):
            with suppress(ImportError):
                found[import_module(name).Auth] = None
        if not found:
            raise ImportError("HTTPXAuth needs httpx or httpx2: pip install httpx")
        return found

    _Auth = type("_Auth", tuple(_classes()), {})


class HTTPXAuth(_Auth):
    """Sends a valid token with each request: ``httpx.Client(auth=HTTPXAuth())``.

    After a 401, it asks for another token, once, and sends the request again.
    """

    def __init__(self, profile: Optional[str] = None, min_ttl: MinTTL = None) -> None:
        self._profile = profile
        self._min_ttl = min_ttl

    def sync_auth_flow(self, request: Any) -> Generator[Any, Any, None]:
        authorize(request, credential(self._profile, self._min_ttl))
        response = yield request
        refused = _to_be_sent_again(request, response)
        if refused is None:
            return
        with no_other_token():
            authorize(request, another(refused, self._profile, self._min_ttl))
            yield request

    async def async_auth_flow(self, request: Any) -> AsyncGenerator[Any, Any]:
        authorize(request, await async_credential(self._profile, self._min_ttl))
        response = yield request
        refused = _to_be_sent_again(request, response)
        if refused is None:
            return
        with no_other_token():
            authorize(request, await async_another(refused, self._profile, self._min_ttl))
            yield request


def _to_be_sent_again(request: Any, response: Any) -> Optional[str]:
    try:
        _ = request.content
    except Exception:
        # The body was a stream, which is used up.
        return None
    return refused_token(response)

"""Credentials for Anthropic's SDK, whose ``auth_token`` can't be a function."""

from __future__ import annotations

from typing import Optional

from anthropic.lib.credentials import AccessToken, AccessTokenProvider

from ._credentials import MinTTL, another, get_token


def anthropic_credentials(
    profile: Optional[str] = None, min_ttl: MinTTL = None
) -> AccessTokenProvider:
    """For ``anthropic.Anthropic(credentials=…)``, and for ``AsyncAnthropic`` too."""
    return _Provider(profile, min_ttl)


class _Provider:
    def __init__(self, profile: Optional[str], min_ttl: MinTTL) -> None:
        self._profile = profile
        self._min_ttl = min_ttl
        self._last: Optional[str] = None

    def __call__(self, *, force_refresh: bool = False) -> AccessToken:
        """A token. After a 401, the SDK sets ``force_refresh``."""
        if force_refresh and self._last is not None:
            token = another(self._last, self._profile, self._min_ttl).token
        else:
            token = get_token(self._profile, self._min_ttl)
        self._last = token
        # To the SDK, an expiry of 0 means that the provider caches the token itself.
        return AccessToken(token, expires_at=0)

"""Authentication for requests, which takes any callable: it is not imported here."""

from __future__ import annotations

from functools import partial
from typing import Any, Optional

from ._credentials import MinTTL, another, credential
from ._retry import authorize, no_other_token, refused_token


class RequestsAuth:
    """Sends a valid token with each request: ``requests.get(url, auth=RequestsAuth())``.

    After a 401, it asks for another token, once, and sends the request again.
    """

    def __init__(self, profile: Optional[str] = None, min_ttl: MinTTL = None) -> None:
        self._profile = profile
        self._min_ttl = min_ttl

    def __call__(self, request: Any) -> Any:
        authorize(request, credential(self._profile, self._min_ttl))
        try:
            position = request.body.tell()
        except Exception:
            position = None
        request.register_hook("response", partial(self._after, position))
        return request

    def _after(self, position: Optional[int], response: Any, **options: Any) -> Any:
        refused = refused_token(response)
        request = response.request.copy()
        if refused is None or not _rewind(request.body, position):
            return response
        with no_other_token():
            authorize(request, another(refused, self._profile, self._min_ttl))
            # The connection is reused only after the answer was read.
            _ = response.content
            response.close()
            answer = response.connection.send(request, **options)
            answer.history.append(response)
            answer.request = request
            return answer
        return response


def _rewind(body: Any, position: Optional[int]) -> bool:
    """Whether the body can be sent again: not if it was a stream, which is used up."""
    if position is None:
        return body is None or isinstance(body, (bytes, str))
    try:
        body.seek(position)
    except Exception:
        return False
    return True

"""Credentials, and the cache for them."""

from __future__ import annotations

import asyncio
import os
import re
import threading
import time
from collections.abc import Awaitable
from concurrent.futures import Future
from dataclasses import dataclass, field
from datetime import datetime
from typing import Callable, NamedTuple, Optional, Union

from ._program import ask

MinTTL = Union[int, float, str, None]
"""How long a token must still be valid: seconds, or a text such as ``"10m"``."""

_SHORTEST_TTL = 60.0
_API_KEY_SECONDS = 300.0
_PAUSE_SECONDS = 10.0


@dataclass(frozen=True)
class Credential:
    """A valid token."""

    token: str = field(repr=False)
    """The access token or the API key."""
    token_type: str
    """The scheme of the ``Authorization`` header: ``Bearer`` or ``Api-Key``."""
    expires_at: Optional[datetime]
    """When the token expires, with a time zone; ``None`` if that is unknown."""


class _Kept(NamedTuple):
    """A cached credential. Times are seconds since 1970."""

    credential: Credential
    end: float
    """Until when it may be used without asking again."""
    ttl: float
    """The ``min_ttl`` that it was requested with."""
    asked_at: float

    def serves(self, ttl: float) -> bool:
        now = time.time()
        # If the server's tokens do not live for `ttl`, do not ask again at each call.
        recent = ttl <= self.ttl and 0 <= now - self.asked_at < _PAUSE_SECONDS
        return now < self.end - ttl or (recent and now < self.end)


class _Question(NamedTuple):
    profile: Optional[str]
    min_ttl: Optional[str]
    refused: Optional[str] = None


_lock = threading.Lock()
_kept: dict[Optional[str], _Kept] = {}
_asking: dict[_Question, Future[Credential]] = {}


def get_token(profile: Optional[str] = None, min_ttl: MinTTL = None) -> str:
    """A valid access token or API key, from memory if possible.

    ``profile`` is a stored profile; by default, the environment and ``baseten auth switch`` select
    one. The token stays valid for ``min_ttl`` at least: seconds or a text such as ``"10m"``; a
    minute by default. Raises :class:`AuthError`.
    """
    return credential(profile, min_ttl).token


def credential(profile: Optional[str] = None, min_ttl: MinTTL = None) -> Credential:
    """The same as :func:`get_token`, with the token's type and expiry."""
    kept = _kept.get(profile)
    if kept is not None and kept.serves(_seconds(min_ttl)):
        return kept.credential
    return _answer(_Question(profile, _text(min_ttl))).result()


def another(refused: str, profile: Optional[str], min_ttl: MinTTL) -> Credential:
    """A new credential, to replace one that a server answered with 401."""
    return _answer(_Question(profile, _text(min_ttl), refused)).result()


async def async_credential(profile: Optional[str], min_ttl: MinTTL) -> Credential:
    kept = _kept.get(profile)
    if kept is not None and kept.serves(_seconds(min_ttl)):
        return kept.credential
    return await asyncio.wrap_future(_answer(_Question(profile, _text(min_ttl))))


async def async_another(refused: str, profile: Optional[str], min_ttl: MinTTL) -> Credential:
    return await asyncio.wrap_future(_answer(_Question(profile, _text(min_ttl), refused)))


def token_provider(profile: Optional[str] = None, min_ttl: MinTTL = None) -> Callable[[], str]:
    """A function that returns a valid token at each call, for the OpenAI SDK's ``api_key``."""

    def provide_token() -> str:
        return get_token(profile, min_ttl)

    return provide_token


def async_token_provider(
    profile: Optional[str] = None, min_ttl: MinTTL = None
) -> Callable[[], Awaitable[str]]:
    """The same as :func:`token_provider`, for asynchronous clients: it does not block the loop."""

    async def provide_token() -> str:
        return (await async_credential(profile, min_ttl)).token

    return provide_token


def clear_cache() -> None:
    """Forget every token, so that the next call asks again.

    After a change of the environment or of the current profile, which is else noticed only when a
    token ends.
    """
    with _lock:
        _kept.clear()


def _answer(question: _Question) -> Future[Credential]:
    """The pending answer, which all threads with the same question share.

    A separate thread asks, so that Ctrl-C ends only the wait for it.
    """
    with _lock:
        kept = _kept.get(question.profile)
        if kept is not None and kept.credential.token == question.refused:
            del _kept[question.profile]
        elif kept is not None and kept.serves(_seconds(question.min_ttl)):
            # Another thread's answer has just arrived.
            done: Future[Credential] = Future()
            done.set_result(kept.credential)
            return done
        future = _asking.get(question)
        if future is not None:
            return future
        future = _asking[question] = Future()
        # From now on, one waiting thread can't cancel it for the others.
        future.set_running_or_notify_cancel()
    thread = threading.Thread(
        target=_work, args=(question, future), name="baseten-auth", daemon=True
    )
    try:
        thread.start()
    except RuntimeError:
        # Python is shutting down, and starts no more threads.
        _work(question, future)
    return future


def _work(question: _Question, future: Future[Credential]) -> None:
    try:
        credential = _ask(question)
    except BaseException as error:
        with _lock:
            _asking.pop(question, None)
        future.set_exception(error)
    else:
        with _lock:
            _asking.pop(question, None)
        future.set_result(credential)


def _ask(question: _Question) -> Credential:
    record = ask(*question)
    end = record.get("expires_at")
    # In UTC. Without fractions of a second: Python before 3.11 can't read all of them.
    expires_at = datetime.fromisoformat(end[:19] + "+00:00") if end else None
    credential = Credential(record["token"], record["token_type"], expires_at)
    now, ttl = time.time(), _seconds(question.min_ttl)
    # An API key does not expire. It is requested again after a while: it may have been replaced.
    until = now + _API_KEY_SECONDS + ttl if expires_at is None else expires_at.timestamp()
    with _lock:
        _kept[question.profile] = _Kept(credential, until, ttl, now)
    return credential


def _seconds(min_ttl: MinTTL) -> float:
    if min_ttl is None:
        return _SHORTEST_TTL
    if isinstance(min_ttl, str):
        match = re.fullmatch(r"(\d+)([smh])", min_ttl)
        # The program will refuse this text.
        if match is None:
            return float("inf")
        min_ttl = int(match[1]) * {"s": 1, "m": 60, "h": 3600}[match[2]]
    return max(float(min_ttl), _SHORTEST_TTL)


def _text(min_ttl: MinTTL) -> Optional[str]:
    """As the program takes it: whole seconds, or a text."""
    if min_ttl is None or isinstance(min_ttl, str):
        return min_ttl
    return f"{-int(-min_ttl // 1)}s"


def _start_anew() -> None:
    """A forked process has no thread to answer, or to release the lock."""
    global _lock
    _lock = threading.Lock()
    _asking.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_start_anew)

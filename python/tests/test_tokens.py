"""Tokens, from the real program and a real server."""

from __future__ import annotations

import asyncio
import inspect
import pickle
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

import baseten_auth
from conftest import Sandbox


def test_the_token_is_the_programs(sandbox: Sandbox) -> None:
    sandbox.log_in()
    assert baseten_auth.get_token() == sandbox.token()


def test_a_credential_has_a_type_and_an_end(sandbox: Sandbox) -> None:
    sandbox.log_in()
    credential = baseten_auth.credential()
    assert credential.token_type == "Bearer"
    assert credential.expires_at is not None
    left = credential.expires_at - datetime.now(timezone.utc)
    assert timedelta(minutes=59) < left <= timedelta(minutes=60)


def test_an_api_key_has_no_end(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BASETEN_API_KEY", sandbox.keys["ada"])
    credential = baseten_auth.credential()
    assert (credential.token, credential.expires_at) == (sandbox.keys["ada"], None)
    assert credential.token_type == "Api-Key"


def test_a_profile_is_asked_for_by_its_name(sandbox: Sandbox) -> None:
    for user in "ada", "grace":
        login = ["auth", "login", "--with-api-key", "--profile", user]
        sandbox.run(*login, stdin=sandbox.keys[user])
    assert baseten_auth.get_token("ada") == sandbox.keys["ada"]
    assert baseten_auth.get_token(profile="grace") == sandbox.keys["grace"]


def test_an_expired_token_is_refreshed(sandbox: Sandbox) -> None:
    sandbox.log_in()
    first = baseten_auth.get_token()
    sandbox.age()
    assert baseten_auth.get_token() == first, "it is still good, as far as is known here"
    baseten_auth.clear_cache()
    assert baseten_auth.get_token() not in (first, "")


def test_providers(sandbox: Sandbox) -> None:
    sandbox.log_in()
    provider = baseten_auth.token_provider(min_ttl="10m")
    async_provider = baseten_auth.async_token_provider(min_ttl=600)
    assert inspect.iscoroutinefunction(async_provider), "that is how LangChain tells them apart"
    assert provider() == asyncio.run(async_provider()) == sandbox.token()


async def many(count: int) -> list[str]:
    provider = baseten_auth.async_token_provider()
    return await asyncio.gather(*(provider() for _ in range(count)))


def test_tasks_share_a_refresh(sandbox: Sandbox) -> None:
    sandbox.log_in()
    sandbox.age()
    assert asyncio.run(many(50)) == [sandbox.token()] * 50


@pytest.mark.parametrize(
    ("arguments", "kind", "status", "message", "hint"),
    [
        ({}, baseten_auth.NotLoggedIn, 3, "not logged in", "baseten auth login"),
        ({"profile": "x"}, baseten_auth.NoSuchProfile, 4, "no profile named 'x'", "auth list"),
        ({"min_ttl": "soon"}, baseten_auth.UsageError, 2, "invalid value 'soon'", "--help"),
        ({"profile": "--help"}, baseten_auth.AuthError, None, "", ""),
    ],
)
def test_errors_say_what_the_program_says(
    arguments: dict[str, str],
    kind: type[baseten_auth.AuthError],
    status: int | None,
    message: str,
    hint: str,
) -> None:
    with pytest.raises(kind) as raised:
        baseten_auth.get_token(**arguments)
    assert status in (raised.value.exit_status, None)
    assert message in raised.value.message
    assert hint in (raised.value.hint or "")
    assert str(raised.value) == f"{raised.value.message}\nhint: {raised.value.hint}"
    assert str(pickle.loads(pickle.dumps(raised.value))) == str(raised.value)  # noqa: S301


def test_a_server_that_is_away(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    sandbox.log_in()
    sandbox.age()
    monkeypatch.setenv("BASETEN_MANAGEMENT_API_URL_OVERRIDE", "http://127.0.0.1:1")
    with pytest.raises(baseten_auth.ServerError) as raised:
        baseten_auth.get_token()
    assert raised.value.exit_status == 6


def test_no_secret_is_shown(sandbox: Sandbox) -> None:
    sandbox.log_in()
    token = baseten_auth.get_token()
    shown = [
        baseten_auth.credential(),
        baseten_auth.token_provider(),
        baseten_auth.async_token_provider(),
        baseten_auth.HTTPXAuth(),
        baseten_auth.RequestsAuth(),
        provider := baseten_auth.anthropic_credentials(),
        provider(),
    ]
    assert token not in repr(shown) + str(shown)


def test_no_program(home: Path) -> None:
    (home / "bin/baseten").unlink()
    with pytest.raises(baseten_auth.ProgramNotFound, match="pip install baseten-auth"):
        baseten_auth.get_token()

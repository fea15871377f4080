"""HTTP clients whose token is refused: another one is asked for, once."""

from __future__ import annotations

import asyncio
import io
import logging
from collections.abc import Iterator
from typing import Any, Callable

import anthropic
import httpx
import httpx2
import pytest
import requests

import baseten_auth
from conftest import Inference, Sandbox

Client = Callable[..., Any]


def with_httpx(url: str, **options: Any) -> Any:
    with httpx.Client(auth=baseten_auth.HTTPXAuth(), follow_redirects=True) as client:
        return client.post(url, **options)


def with_httpx2(url: str, **options: Any) -> Any:
    with httpx2.Client(auth=baseten_auth.HTTPXAuth(), follow_redirects=True) as client:
        return client.post(url, **options)


def with_async_httpx(url: str, **options: Any) -> Any:
    async def post() -> httpx.Response:
        auth = baseten_auth.HTTPXAuth()
        async with httpx.AsyncClient(auth=auth, follow_redirects=True) as client:
            return await client.post(url, **options)

    return asyncio.run(post())


def with_requests(url: str, **options: Any) -> Any:
    data = options.pop("content", None)
    with requests.Session() as session:
        return session.post(url, data=data, auth=baseten_auth.RequestsAuth(), timeout=30, **options)


def with_anthropic(url: str, **_: Any) -> Any:
    base_url = url.removesuffix("/v1/models")
    credentials = baseten_auth.anthropic_credentials()
    with anthropic.Anthropic(base_url=base_url, credentials=credentials) as client:
        return client.models.list()


def with_async_anthropic(url: str, **_: Any) -> Any:
    async def ask() -> Any:
        base_url = url.removesuffix("/v1/models")
        credentials = baseten_auth.anthropic_credentials()
        async with anthropic.AsyncAnthropic(base_url=base_url, credentials=credentials) as client:
            return await client.models.list()

    return asyncio.run(ask())


HTTP = [with_httpx, with_httpx2, with_async_httpx, with_requests]


@pytest.fixture
def refused(sandbox: Sandbox, inference: Inference) -> str:
    """A token in memory that the API refuses, as after it was revoked."""
    sandbox.log_in()
    sandbox.issued_long_ago()
    token = baseten_auth.get_token()
    inference.allows = lambda authorization: authorization != f"Bearer {token}"
    return token


@pytest.mark.parametrize("client", [*HTTP, with_anthropic, with_async_anthropic])
def test_a_refused_token_is_replaced(
    client: Client, refused: str, inference: Inference, sandbox: Sandbox
) -> None:
    answer = client(f"{inference.url}/v1/models")
    assert getattr(answer, "status_code", 200) == 200
    assert inference.authorizations == [f"Bearer {refused}", f"Bearer {sandbox.token()}"]
    assert baseten_auth.get_token() == sandbox.token() != refused, "the memory has it as well"


@pytest.mark.parametrize("client", HTTP)
def test_the_body_is_sent_again(client: Client, refused: str, inference: Inference) -> None:
    assert client(f"{inference.url}/v1/models", content=b"the body").status_code == 200
    assert [body for _, _, body in inference.requests] == [b"the body"] * 2


def test_a_file_is_sent_again(refused: str, inference: Inference) -> None:
    file = io.BytesIO(b"not this, the body")
    file.seek(10)
    assert with_requests(f"{inference.url}/v1/models", content=file).status_code == 200
    assert [body for _, _, body in inference.requests] == [b"the body"] * 2


def chunks() -> Iterator[bytes]:
    yield b"part"


@pytest.mark.parametrize("client", [with_httpx, with_requests])
def test_a_stream_is_not_sent_again(client: Client, refused: str, inference: Inference) -> None:
    assert client(f"{inference.url}/v1/models", content=chunks()).status_code == 401
    assert len(inference.requests) == 1


@pytest.mark.parametrize("client", HTTP)
def test_a_second_401_is_the_answer(client: Client, refused: str, inference: Inference) -> None:
    inference.allows = lambda _: False
    assert client(f"{inference.url}/v1/models").status_code == 401
    assert len(inference.requests) == 2


@pytest.mark.parametrize("client", HTTP)
def test_an_api_key_is_not_sent_twice(
    client: Client,
    sandbox: Sandbox,
    inference: Inference,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setenv("BASETEN_API_KEY", sandbox.keys["ada"])
    inference.allows = lambda _: False
    caplog.set_level(logging.WARNING, "baseten_auth")
    assert client(f"{inference.url}/v1/models").status_code == 401
    assert inference.authorizations == [f"Api-Key {sandbox.keys['ada']}"]
    [message] = [record.getMessage() for record in caplog.records if record.name == "baseten_auth"]
    assert message.startswith("the server refused the API key")
    assert sandbox.keys["ada"] not in message


@pytest.mark.parametrize("client", HTTP)
def test_another_host_gets_no_token(
    client: Client, refused: str, inference: Inference, other_host: Inference
) -> None:
    inference.redirect = other_host.url.replace("127.0.0.1", "localhost")
    other_host.allows = lambda _: False
    assert client(f"{inference.url}/v1/models").status_code == 401
    assert other_host.authorizations == [""]
    assert len(inference.requests) == 1
    assert baseten_auth.get_token() == refused, "nor makes it anybody refresh one"

"""Programs of others under `auth exec`: each finds the credential in its environment.

`cargo xtask test python` runs all tests where they can reach nothing but this machine, and where
`api.localhost`, which truss calls, has an address.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from conftest import Inference, Sandbox

OPENAI = """
from openai import OpenAI
with OpenAI(max_retries=0) as client:
    answer = client.chat.completions.create(
        model="a-model", messages=[{"role": "user", "content": "Say hello."}]
    )
print(answer.choices[0].message.content)
"""

ANTHROPIC = """
from anthropic import Anthropic
with Anthropic(max_retries=0) as client:
    answer = client.messages.create(
        model="a-model", max_tokens=100, messages=[{"role": "user", "content": "Say hello."}]
    )
print(answer.content[0].text)
"""

TRUSS = str(Path(sys.executable).parent / "truss")


def execute(
    *words: str, options: tuple[str, ...] = (), status: int = 0
) -> subprocess.CompletedProcess[str]:
    """`auth exec`, which ends as the program does."""
    command = ["baseten", "auth", "exec", *options, "--", *words]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert ended.returncode == status, ended.stdout + ended.stderr
    return ended


@pytest.mark.parametrize(("client", "code"), [("openai", OPENAI), ("anthropic", ANTHROPIC)])
def test_a_client_from_its_environment_alone(
    client: str,
    code: str,
    sandbox: Sandbox,
    inference: Inference,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("BASETEN_INFERENCE_BASE_URL_OVERRIDE", inference.url)
    inference.allows = lambda authorization: authorization == f"Bearer {sandbox.stored_token()}"
    sandbox.log_in()
    options = ("--for", client)
    sent = []
    for _ in ("the first token", "the next one"):
        assert execute(sys.executable, "-c", code, options=options).stdout == "Hello.\n"
        sent.append(f"Bearer {sandbox.stored_token()}")
        sandbox.age()
    assert inference.authorizations == sent
    assert sent[0] != sent[1]


@pytest.mark.parametrize(("client", "code"), [("openai", OPENAI), ("anthropic", ANTHROPIC)])
def test_a_client_with_a_token_that_is_used_up(
    client: str,
    code: str,
    sandbox: Sandbox,
    inference: Inference,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("BASETEN_INFERENCE_BASE_URL_OVERRIDE", inference.url)
    sandbox.log_in()
    used_up = sandbox.stored_token()
    inference.allows = lambda authorization: authorization != f"Bearer {used_up}"
    ended = execute(sys.executable, "-c", code, options=("--for", client), status=1)
    assert "401" in ended.stderr
    assert used_up not in ended.stdout + ended.stderr


@pytest.fixture
def truss(monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("TRUSS_NO_UPDATE_CHECK", "1")
    monkeypatch.setenv("BASETEN_TRUSS_AUTH_KEYRING_DISABLED", "1")
    return TRUSS


class TestTruss:
    @pytest.fixture
    def sandbox_port(self) -> int:
        """The remote on this machine that truss knows; what it knows not is the real service."""
        return 8000

    def test_it_knows_who_is_logged_in(self, truss: str, sandbox: Sandbox) -> None:
        sandbox.log_in()
        tokens = []
        for _ in ("the first token", "the next one"):
            script = f"{truss} whoami && printenv BASETEN_TRUSS_AUTH_API_KEY"
            said, token = execute("sh", "-c", script).stdout.splitlines()
            assert said == "Analytical Engines\\ada@example.com"
            assert token == sandbox.stored_token()
            tokens.append(token)
            sandbox.age()
        assert tokens[0] != tokens[1]

    def test_it_says_where_the_credential_comes_from(self, truss: str, sandbox: Sandbox) -> None:
        sandbox.log_in()
        said = execute(truss, "auth", "status").stdout
        assert f"remote_url: {os.environ['BASETEN_REMOTE_URL']}" in said
        assert "source: BASETEN_TRUSS_AUTH_API_KEY" in said

    def test_a_token_that_is_used_up_is_refused(self, truss: str, sandbox: Sandbox) -> None:
        sandbox.log_in()
        script = f"baseten auth logout && {truss} whoami"
        ended = execute("sh", "-c", script, status=1)
        # It wraps its lines.
        assert "401 Client Error: Unauthorized" in " ".join(ended.stdout.split())

"""A home without a login, the built programs, a sandbox, and a mock of the inference API."""

from __future__ import annotations

import json
import os
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Callable

import pytest

import baseten_auth

BINARY = "BASETEN_TEST_BINARY"
SANDBOX = "BASETEN_TEST_SANDBOX"


def built(variable: str) -> str:
    """A program of the workspace, which `cargo xtask test python` builds and names."""
    if variable not in os.environ:
        pytest.fail(f"{variable} is not set: run `cargo xtask test python`")
    return os.environ[variable]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An environment in which nobody is logged in, and `baseten` is the built one."""
    binary = built(BINARY)
    sandbox = built(SANDBOX)
    for name in list(os.environ):
        monkeypatch.delenv(name)
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/baseten").symlink_to(binary)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:/usr/bin:/bin")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("BASETEN_CREDENTIAL_STORE", "file")
    monkeypatch.setenv(SANDBOX, sandbox)
    baseten_auth.clear_cache()
    return tmp_path


@dataclass
class Sandbox:
    """A remote on this machine, and the store of those who are logged in there."""

    home: Path
    keys: dict[str, str]

    def run(self, *arguments: str, stdin: str = "") -> str:
        command = ["baseten", *arguments]
        return subprocess.run(
            command, input=stdin, capture_output=True, text=True, check=True, timeout=60
        ).stdout

    def log_in(self) -> None:
        self.run("auth", "login", "--web")

    def token(self) -> str:
        """What the program itself prints."""
        return self.run("auth", "token").strip()

    def stored_token(self) -> str:
        """The access token in the store, whether it is still good or not."""
        [profile] = json.loads(self._store().read_text())["profiles"].values()
        return str(profile["oauth_credential"]["access_token"])

    def age(self) -> None:
        """Every access token expires in the store, as after an hour."""
        self._change(expiry="2020-01-01T01:00:00Z", issued_at="2020-01-01T00:00:00Z")

    def issued_long_ago(self) -> None:
        """Tokens stay valid, but are old enough to be refreshed after a 401."""
        self._change(issued_at="2020-01-01T00:00:00Z")

    def _change(self, **times: str) -> None:
        path = self._store()
        store = json.loads(path.read_text())
        for profile in store["profiles"].values():
            profile["oauth_credential"].update(times)
        path.write_text(json.dumps(store))

    def _store(self) -> Path:
        return self.home / ".config/baseten/auth.json"


@pytest.fixture
def sandbox_port() -> int:
    """Any free one."""
    return 0


@pytest.fixture
def sandbox(home: Path, sandbox_port: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[Sandbox]:
    options = ["--json", f"--port={sandbox_port}", "--auto-approve=ada", "--device-interval=1"]
    command = [os.environ[SANDBOX], *options, "--latency=50"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        told = json.loads(process.stdout.readline())
        monkeypatch.setenv("BASETEN_REMOTE_URL", told["remote_url"])
        yield Sandbox(home, told["api_keys"])
        process.terminate()


@dataclass
class FakeProgram:
    """A `baseten` that counts how often it runs, and then does as a shell script says."""

    home: Path

    def says(self, script: str) -> None:
        program = self.home / "bin/baseten"
        program.unlink(missing_ok=True)
        program.write_text(f'#!/bin/sh\necho "$*" >>"{self.home}/runs"\n{script}\n')
        program.chmod(0o755)

    def answers(self, token: str = "token-1", seconds: int = 3600, before: str = "") -> None:
        self.says(
            f"{before}\n"
            f"end=$(date -u -d '+{seconds} seconds' +%Y-%m-%dT%H:%M:%S.123456789Z)\n"
            f'echo "{{\\"token\\": \\"{token}\\", \\"token_type\\": \\"Bearer\\", '
            f'\\"expires_at\\": \\"$end\\", \\"profile\\": \\"p\\"}}"'
        )

    def answers_after(self) -> Path:
        """It answers once the file is there that is returned, and that long only."""
        go = self.home / "go"
        self.answers(
            before=f'n=0; while [ ! -e "{go}" -a $((n += 1)) -lt 400 ]; do sleep 0.05; done'
        )
        return go

    def runs(self) -> list[str]:
        file = self.home / "runs"
        return file.read_text().splitlines() if file.exists() else []


@pytest.fixture
def fake(home: Path) -> FakeProgram:
    return FakeProgram(home)


@dataclass
class Inference:
    """A mock of the inference API on loopback, which takes the tokens that are allowed."""

    url: str
    allows: Callable[[str], bool] = lambda authorization: bool(authorization)
    requests: list[tuple[str, str, bytes]] = field(default_factory=list)
    redirect: str = ""

    @property
    def authorizations(self) -> list[str]:
        return [authorization for _, authorization, _ in self.requests]


ANSWERS: dict[str, Any] = {
    "/v1/models": {"object": "list", "data": [{"id": "a-model", "object": "model"}]},
    "/v1/chat/completions": {
        "id": "1",
        "object": "chat.completion",
        "created": 1,
        "model": "a-model",
        "choices": [
            {
                "index": 0,
                "finish_reason": "stop",
                "message": {"role": "assistant", "content": "Hello."},
            }
        ],
        "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
    },
    "/v1/messages": {
        "id": "1",
        "type": "message",
        "role": "assistant",
        "model": "a-model",
        "content": [{"type": "text", "text": "Hello."}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": {"input_tokens": 1, "output_tokens": 1},
    },
}


@pytest.fixture
def inference() -> Iterator[Inference]:
    yield from serve()


@pytest.fixture
def other_host() -> Iterator[Inference]:
    yield from serve()


def serve() -> Iterator[Inference]:
    mock = Inference("")

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            authorization = self.headers.get("Authorization", "")
            if "chunked" in self.headers.get("Transfer-Encoding", ""):
                body = self.chunks()
            else:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            mock.requests.append((path, authorization, body))
            if mock.redirect:
                self.send_response(307)
                self.send_header("Location", mock.redirect + self.path)
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            allowed = mock.allows(authorization)
            answer = json.dumps(ANSWERS[path] if allowed else {"error": {"message": "no"}}).encode()
            self.send_response(200 if allowed else 401)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        do_POST = do_GET

        def chunks(self) -> bytes:
            body = b""
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return body

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.block_on_close = False
    mock.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield mock
    finally:
        server.shutdown()
        thread.join()
        server.server_close()

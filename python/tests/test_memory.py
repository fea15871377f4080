"""What is kept in memory, and how the program is asked: with a mock of the program."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import sysconfig
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Callable

import pytest

import baseten_auth
from baseten_auth import _credentials, _program
from conftest import FakeProgram


def pass_time(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    now = time.time() + seconds
    monkeypatch.setattr("baseten_auth._credentials.time.time", lambda: now)


def test_it_is_asked_once(fake: FakeProgram) -> None:
    fake.answers()
    assert {baseten_auth.get_token() for _ in range(10)} == {"token-1"}
    assert fake.runs() == ["auth token --output json"]


def test_threads_wait_for_one_question(fake: FakeProgram) -> None:
    go = fake.answers_after()
    with ThreadPoolExecutor(32) as pool:
        tokens = [pool.submit(baseten_auth.get_token) for _ in range(200)]
        wait_for(lambda: bool(fake.runs()))
        go.touch()
    assert {token.result() for token in tokens} == {"token-1"}
    assert len(fake.runs()) == 1


def test_it_is_kept_until_less_than_min_ttl_is_left(
    fake: FakeProgram, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake.answers(seconds=3600)
    baseten_auth.get_token()
    pass_time(monkeypatch, 3000)
    baseten_auth.get_token(min_ttl=500)
    assert len(fake.runs()) == 1
    fake.answers("token-2", seconds=7200)
    assert baseten_auth.get_token(min_ttl="11m") == "token-2"
    assert fake.runs()[1:] == ["auth token --output json --min-ttl=11m"]
    assert baseten_auth.get_token() == "token-2"


def test_less_than_a_minute_is_a_minute(fake: FakeProgram, monkeypatch: pytest.MonkeyPatch) -> None:
    fake.answers(seconds=3600)
    baseten_auth.get_token()
    pass_time(monkeypatch, 3545)
    fake.answers("token-2", seconds=7200)
    assert baseten_auth.get_token(min_ttl=1.5) == "token-2"
    assert fake.runs()[1:] == ["auth token --output json --min-ttl=2s"]


def test_an_api_key_is_kept_for_five_minutes(
    fake: FakeProgram, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake.says('echo \'{"token": "key", "token_type": "Api-Key", "profile": ""}\'')
    baseten_auth.get_token()
    with monkeypatch.context() as patch:
        pass_time(patch, 295)
        baseten_auth.get_token()
        assert len(fake.runs()) == 1
    pass_time(monkeypatch, 305)
    baseten_auth.get_token()
    assert len(fake.runs()) == 2


def test_a_token_that_can_not_live_that_long(
    fake: FakeProgram, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    fake.answers(seconds=300, before="echo 'warning: tokens live for 5 minutes only' >&2")
    for _ in range(5):
        assert baseten_auth.get_token(min_ttl="1h") == "token-1"
    assert len(fake.runs()) == 1, "not each call asks"
    assert caplog.messages == ["tokens live for 5 minutes only"]
    pass_time(monkeypatch, 15)
    baseten_auth.get_token(min_ttl="1h")
    assert len(fake.runs()) == 2


def test_a_failure_is_not_kept(fake: FakeProgram) -> None:
    fake.says("printf 'warning: w\\nerror: broken\\nhint: mend it\\n' >&2; exit 1")
    with pytest.raises(baseten_auth.AuthError) as raised:
        baseten_auth.get_token()
    assert (raised.value.message, raised.value.hint) == ("broken", "mend it")
    fake.answers()
    assert baseten_auth.get_token() == "token-1"


def test_a_failure_without_a_word(fake: FakeProgram) -> None:
    fake.says("kill -9 $$")
    with pytest.raises(baseten_auth.AuthError, match="ended with status -9 and did not say why"):
        baseten_auth.get_token()


@pytest.mark.parametrize("printed", ["secret-token", '["secret-token"]', '{"a": "secret-token"}'])
def test_another_program_of_the_same_name(fake: FakeProgram, printed: str) -> None:
    fake.says(f"echo '{printed}'")
    with pytest.raises(baseten_auth.AuthError, match="did not answer with a token") as raised:
        baseten_auth.get_token()
    error = raised.value
    assert error.__cause__ is None
    assert error.__context__ is None, "it would have what was printed"


def test_a_program_that_can_not_be_started(fake: FakeProgram) -> None:
    fake.says("")
    (fake.home / "bin/baseten").write_text("#!/no/such/shell\n")
    with pytest.raises(baseten_auth.ProgramNotFound, match="cannot start"):
        baseten_auth.get_token()


def test_its_own_installation_comes_first(
    fake: FakeProgram, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake.answers()
    assert _program.find_program() == str(fake.home / "bin/baseten")
    scripts = tmp_path / "scripts"
    scripts.mkdir()
    (scripts / "baseten").touch(mode=0o755)
    monkeypatch.setattr(sysconfig, "get_path", lambda *_: str(scripts))
    monkeypatch.setattr(_program, "_directories", _program._directories.__wrapped__)
    assert _program.find_program() == str(scripts / "baseten")


INTERRUPTED = """
import baseten_auth, os, pathlib, signal, sys, threading, time
runs, go = map(pathlib.Path, sys.argv[1:])
def interrupt():
    while not runs.exists():
        time.sleep(0.02)
    os.kill(os.getpid(), signal.SIGINT)
threading.Thread(target=interrupt).start()
try:
    baseten_auth.get_token()
except KeyboardInterrupt:
    print("interrupted")
go.touch()
print(baseten_auth.get_token())
"""


def python(code: str, home: Path, *arguments: Path) -> subprocess.Popen[str]:
    source = Path(baseten_auth.__file__).parents[1]
    environment = {"PATH": f"{home}/bin:/usr/bin:/bin", "PYTHONPATH": str(source)}
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-c", code, *arguments],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def test_ctrl_c_ends_the_waiting_only(fake: FakeProgram) -> None:
    go = fake.answers_after()
    process = python(INTERRUPTED, fake.home, fake.home / "runs", go)
    out, _ = process.communicate(timeout=30)
    assert out == "interrupted\ntoken-1\n", "the next call gets the answer of the same run"
    assert len(fake.runs()) == 1


def test_ctrl_c_at_a_terminal_does_not_reach_the_program(fake: FakeProgram) -> None:
    fake.says(f'sleep 1; touch "{fake.home}/finished"')
    process = python("import baseten_auth; baseten_auth.get_token()", fake.home)
    wait_for(lambda: bool(fake.runs()))
    os.killpg(process.pid, signal.SIGINT)
    process.communicate(timeout=30)
    assert process.returncode == -signal.SIGINT
    assert not (fake.home / "finished").exists()
    wait_for(lambda: (fake.home / "finished").exists())


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


FORKED = """
import baseten_auth, os, pathlib, sys, threading, time
runs, go = map(pathlib.Path, sys.argv[1:])
def wait_for_runs(count):
    while not runs.exists() or len(runs.read_text().splitlines()) < count:
        time.sleep(0.02)
threading.Thread(target=baseten_auth.get_token).start()
wait_for_runs(1)
child = os.fork()
if child == 0:
    assert baseten_auth.get_token() == "token-1"
    os._exit(7)
wait_for_runs(2)
go.touch()
assert baseten_auth.get_token() == "token-1"
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def test_a_forked_process_asks_for_itself(fake: FakeProgram) -> None:
    go = fake.answers_after()
    # From Python 3.12 on, a fork while threads run causes a warning.
    code = "import warnings; warnings.simplefilter('ignore')\n" + FORKED
    process = python(code, fake.home, fake.home / "runs", go)
    assert process.communicate(timeout=30)[0] == "7\n"
    assert len(fake.runs()) == 2


def test_at_the_end_of_python(fake: FakeProgram) -> None:
    fake.answers()
    code = "import atexit, baseten_auth; atexit.register(lambda: print(baseten_auth.get_token()))"
    assert python(code, fake.home).communicate(timeout=30)[0] == "token-1\n"


def test_nothing_is_asked_twice_at_once(fake: FakeProgram) -> None:
    fake.answers()
    baseten_auth.get_token()
    assert not _credentials._asking
    assert all(thread.name != "baseten-auth" for thread in threading.enumerate())


def test_it_needs_no_other_package(fake: FakeProgram) -> None:
    fake.answers()
    code = (
        "import sys\n"
        "sys.modules.update(dict.fromkeys(['httpx', 'httpx2', 'requests', 'anthropic']))\n"
        "import baseten_auth; from baseten_auth import *; print(get_token())\n"
        "try: baseten_auth.HTTPXAuth\n"
        "except ImportError as error: print(error)\n"
    )
    out = python(code, fake.home).communicate(timeout=30)[0]
    assert out == "token-1\nHTTPXAuth needs httpx or httpx2: pip install httpx\n"


def test_an_unknown_name() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = baseten_auth.nothing
    assert {"HTTPXAuth", "anthropic_credentials", "get_token"} <= set(dir(baseten_auth))

"""Finds the program ``baseten``, and asks it for a token."""

from __future__ import annotations

import json
import logging
import os
import shutil
import subprocess
import sys
import sysconfig
from functools import cache
from pathlib import Path
from typing import Any, Optional

from ._errors import AuthError, ProgramNotFound, error_of

_LOG = logging.getLogger("baseten_auth")
_NAME = "baseten.exe" if sys.platform == "win32" else "baseten"


def find_program() -> str:
    """The program of this installation, else the one in ``PATH``, which may be another."""
    for directory in _directories():
        program = os.path.join(directory, _NAME)
        if os.access(program, os.X_OK):
            return program
    found = shutil.which("baseten")
    if found is None:
        raise ProgramNotFound(
            "the program baseten is neither beside this Python nor in PATH",
            "install it with: pip install baseten-auth",
        )
    return found


@cache
def _directories() -> tuple[str, ...]:
    """The program directories of an installation. Finding them takes longer than the rest."""
    user_scheme = "nt_user" if os.name == "nt" else "posix_user"
    return (
        sysconfig.get_path("scripts"),
        sysconfig.get_path("scripts", user_scheme),
        # For `pip install --target`.
        str(Path(__file__).parents[1] / "bin"),
    )


def ask(
    profile: Optional[str], min_ttl: Optional[str], refused: Optional[str] = None
) -> dict[str, Any]:
    """The JSON record that ``baseten auth token`` prints.

    ``refused`` is a token that a server answered with 401; the answer is then a new one.
    """
    command = [find_program(), "auth", "token", "--output", "json"]
    command += [] if profile is None else [f"--profile={profile}"]
    command += [] if min_ttl is None else [f"--min-ttl={min_ttl}"]
    command += [] if refused is None else ["--refused-stdin"]
    status, stdout, stderr = _run(command, refused)
    if status != 0:
        raise error_of(status, stderr)
    for line in stderr.splitlines():
        _LOG.warning("%s", line.replace("warning: ", "", 1))
    try:
        record = json.loads(stdout)
        record["token"], record["token_type"]
    except (ValueError, TypeError, KeyError):
        # Not chained: the cause would contain the output, and that may be a token.
        record = None
    if not isinstance(record, dict):
        raise AuthError(
            f"{command[0]} did not answer with a token",
            "another program may have the name baseten: put this one first in PATH",
            status,
        )
    return record


def _run(command: list[str], stdin: Optional[str]) -> tuple[int, str, str]:
    """Runs the program to its end.

    It is never killed, and Ctrl-C does not reach it: it may be in the middle of a refresh, and a
    refresh token can be used only once. It has no controlling terminal, which could stop it.
    """
    flags = 0
    if sys.platform == "win32":
        flags = subprocess.CREATE_NEW_PROCESS_GROUP | subprocess.CREATE_NO_WINDOW
    try:
        child = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL if stdin is None else subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            errors="replace",
            start_new_session=True,
            creationflags=flags,
        )
    except OSError as error:
        raise ProgramNotFound(f"cannot start {command[0]}: {error.strerror}") from error
    stdout, stderr = child.communicate(stdin)
    return child.returncode, stdout, stderr

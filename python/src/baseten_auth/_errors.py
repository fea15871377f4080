"""How a request for a token fails: an exception for each exit status of the program."""

from __future__ import annotations

from typing import Optional


class AuthError(Exception):
    """No token could be obtained. Subclasses say why; the message is the program's own sentence.

    ``hint`` is what to do about it, if the program said so; ``exit_status`` is the program's, or
    ``None`` if it did not run to its end.
    """

    def __init__(
        self, message: str, hint: Optional[str] = None, exit_status: Optional[int] = None
    ) -> None:
        super().__init__(message, hint, exit_status)
        self.message = message
        self.hint = hint
        self.exit_status = exit_status

    def __str__(self) -> str:
        return f"{self.message}\nhint: {self.hint}" if self.hint else self.message


class UsageError(AuthError):
    """An argument or an environment variable is wrong (exit status 2)."""


class NotLoggedIn(AuthError):
    """Nobody is logged in, or the credential is refused or expired (exit status 3)."""


class NoSuchProfile(AuthError):
    """There is no profile of that name (exit status 4)."""


class Refused(AuthError):
    """The server refused the request for another reason (exit status 5)."""


class ServerError(AuthError):
    """The server or the network failed (exit status 6)."""


class ProgramNotFound(AuthError):
    """There is no program ``baseten``."""


_BY_STATUS: dict[int, type[AuthError]] = {
    2: UsageError,
    3: NotLoggedIn,
    4: NoSuchProfile,
    5: Refused,
    6: ServerError,
}


def error_of(status: int, stderr: str) -> AuthError:
    """The exception for an exit status and what the program printed: a sentence and a hint."""
    _, _, said = ("\n" + stderr).rpartition("\nerror: ")
    message, _, hint = said.partition("\nhint: ")
    if not message.strip():
        message = f"baseten ended with status {status} and did not say why"
    return _BY_STATUS.get(status, AuthError)(message.strip(), hint.strip() or None, status)

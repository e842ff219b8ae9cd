"""The bearer secrets of an agent that is served over HTTP: where they come from, and that nobody else can read them."""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping
from pathlib import Path

from ..errors import ConfigError

LEAST_SECRET = 20
"""Characters; a generated secret has 43."""


def kept_secret(folder: Path) -> tuple[dict[str, str], Path]:
    """A secret that is made once and kept in ``folder``, and the file that it is in (mode 0600).

    ``ConfigError`` where it can be neither read nor made.
    """
    file = folder / "http.secret"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            made = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            return secrets_of(file), file
        with os.fdopen(made, "w", encoding="utf-8") as opened:
            opened.write(secrets.token_urlsafe(32) + "\n")
    except OSError as exc:
        raise ConfigError(
            f"No secret can be kept in {folder} ({exc.strerror}). Nothing is served.", "Give one: --http-token-file."
        ) from None
    return secrets_of(file), file


def secrets_of(file: Path) -> dict[str, str]:
    """The secrets in a file, by client; ``ConfigError`` where others can read it, or it holds anything else."""
    try:
        with file.open(encoding="utf-8") as opened:
            status = os.fstat(opened.fileno())
            if os.name == "posix" and (status.st_mode & 0o077 or status.st_uid not in (os.geteuid(), 0)):
                raise ConfigError(
                    f"{file} can be read by other users of this machine, or is theirs. Nothing is served.",
                    f"Run: chmod 600 {file}",
                )
            return read_secrets(opened.read())
    except (OSError, UnicodeDecodeError) as exc:
        raise ConfigError(f"The secrets in {file} cannot be read ({type(exc).__name__}).") from None


def read_secrets(text: str) -> dict[str, str]:
    """The secrets of a file: one per line, alone or behind the name of the client that it is for.

    Empty lines and those that begin with ``#`` are passed over.  ``ConfigError``, which repeats no secret, where a line
    holds anything else, where a secret is short or cannot stand in a header, and where a name or a secret comes twice.
    """
    found: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), 1):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        name, secret = (words[0], words[-1]) if len(words) == 2 else ("", words[-1])
        if len(words) > 2 or not all(33 <= ord(c) < 127 for c in secret):
            raise ConfigError(f"Line {number} of the secrets is not a name and a secret, or a secret alone.")
        if len(secret) < LEAST_SECRET:
            raise ConfigError(f"The secret in line {number} is shorter than {LEAST_SECRET} characters.")
        if name in found or secret in found.values():
            raise ConfigError(f"Line {number} of the secrets repeats a name or a secret of a line above.")
        found[name] = secret
    if not found:
        raise ConfigError("There is no secret in it.", "Write one line, e.g. of `openssl rand -base64 32`.")
    return found


def refuse_shared(token: str, secrets: Mapping[str, str]) -> None:
    """``ConfigError`` where the Jupyter server's token is handed out as a bearer secret."""
    if token and token in secrets.values():
        raise ConfigError(
            "A bearer secret of this server is the Jupyter server's token. It must be another one: who has the token "
            "needs no agent. Nothing was done.",
            "Leave --http-token-file out, and one is made.",
        )

"""TLS to the Jupyter server: always verified, by the system's authorities or by the one that the user names.

There is no way to turn the verification off: who can pretend to be the server gets its token, and with it the user's
files and kernels.  A server with a certificate of its own making is trusted by naming that certificate.
"""

from __future__ import annotations

import ssl

from .config import Server
from .errors import ConfigError, Unreachable


def context_for(server: Server) -> ssl.SSLContext | None:
    """What verifies this server; None where it is spoken to without TLS.

    With ``Server.ca_file`` only that authority counts, else the system's (and ``SSL_CERT_FILE``, which OpenSSL reads).
    ``ConfigError``: the file holds no certificate.
    """
    if not server.url.startswith("https:"):
        return None
    try:
        return ssl.create_default_context(cafile=server.ca_file)
    except (OSError, ssl.SSLError) as exc:
        raise ConfigError(
            f"The certificates in {server.ca_file} cannot be used ({type(exc).__name__}).", "Check --ca-file (PEM)."
        ) from None


def untrusted(server: Server, error: BaseException) -> Unreachable | None:
    """What a failure to connect means that TLS has caused; None where something else has."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, ssl.SSLError):
        cause = cause.__cause__ or cause.__context__
    if cause is None:
        return None
    if not isinstance(cause, ssl.SSLCertVerificationError):
        return Unreachable(
            f"{server.url} does not speak TLS as it should ({cause.reason or type(cause).__name__}). Nothing was sent.",
            "Is it https, or http? Check the address.",
        )
    return Unreachable(
        f"The certificate of {server.url} is not trusted: {cause.verify_message}. The token was not sent.",
        "If your own authority has signed it, the user names that one: --ca-file FILE (PEM), or SSL_CERT_FILE. "
        "The verification cannot be turned off.",
    )

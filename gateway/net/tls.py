"""The certificate that this gateway shows to its clients, and its renewal.

Knows no sockets: whoever listens asks for ``context`` with each connection.
"""

from __future__ import annotations

import ssl
from contextlib import suppress

from gateway.config import SettingsError
from gateway.ops.logs import get_logger

log = get_logger(__name__)


class Certificate:
    """A certificate with its key, read from files; ``reload()`` reads them again.

    ``context`` is for new connections; those that are open keep theirs.
    """

    def __init__(self, cert_path: str, key_path: str) -> None:
        """``key_path`` may be '' if the key is in the same file.  Raises ``SettingsError``."""
        self.reloads = {"ok": 0, "failed": 0}
        self._paths = cert_path, key_path
        self.context = self._load()
        self.expires_at = _expires_at(self.context, cert_path)
        """When it ends, in seconds since 1970, or None if that can't be told."""

    def reload(self) -> bool:
        """Read the files again.  What can't be used is logged, and the old one stays."""
        try:
            self.context = self._load()
        except SettingsError as error:
            self.reloads["failed"] += 1
            log.error("certificate not reloaded, the old one stays", error=str(error))
            return False
        self.expires_at = _expires_at(self.context, self._paths[0])
        self.reloads["ok"] += 1
        log.info("certificate reloaded", expires_at=self.expires_at)
        return True

    def _load(self) -> ssl.SSLContext:
        cert_path, key_path = self._paths
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        # A client that renegotiates makes the server work for nothing.
        context.options |= ssl.OP_NO_RENEGOTIATION
        try:
            context.load_cert_chain(cert_path, key_path or None, password=_no_password)
        except FileNotFoundError as error:
            raise SettingsError(
                f"--tls-cert, --tls-key: {_missing(cert_path, key_path)}"
            ) from error
        except OSError as error:  # ssl.SSLError is one
            why = getattr(error, "reason", None) or error.strerror or str(error)
            raise SettingsError(f"--tls-cert, --tls-key: {cert_path}: {why}") from error
        return context


def _missing(*paths: str) -> str:
    """Which of the files is not there: the error of ``ssl`` does not tell."""
    for path in filter(None, paths):
        try:
            with open(path, "rb"):
                pass
        except OSError as error:
            return f"{path}: {error.strerror}"
    return "a file was not there"


def _no_password() -> str:
    # Without this, OpenSSL would ask at the terminal.
    raise SettingsError("--tls-key: the key is encrypted; it must not be")


def _expires_at(context: ssl.SSLContext, cert_path: str) -> float | None:
    """Ask a client that trusts exactly this certificate, within this process.

    The standard library reads a certificate's dates only for a peer's one.
    """
    trusting = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    trusting.check_hostname = False
    trusting.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    try:
        trusting.load_verify_locations(cert_path)
        to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
        client = trusting.wrap_bio(to_client, to_server)
        server = context.wrap_bio(to_server, to_client, server_side=True)
        for side in (client, server, client):
            with suppress(ssl.SSLWantReadError):
                side.do_handshake()
        seen = client.getpeercert()
    except (OSError, ValueError) as error:
        log.warning("certificate is not good", error=getattr(error, "verify_message", str(error)))
        return None
    return float(ssl.cert_time_to_seconds(str(seen["notAfter"]))) if seen else None

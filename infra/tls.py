"""Certificates for servers on loopback in tests, made by the openssl command line: a CA, and what it has signed.

Valid for a few days, keys in plain files that only their owner can read. Never for production.
"""

import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

_SECONDS = 30
_DAYS = "7"
_LEAST_OPENSSL = 3
_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")


class CertificateError(RuntimeError):
    """A certificate could not be made."""


@dataclass(frozen=True, slots=True)
class Certificates:
    """PEM files of one CA and of one server."""

    ca: Path
    """The CA's certificate: what clients trust."""
    server: Path
    """The server's key and certificate, in one file."""


def missing_openssl() -> str | None:
    """Say what is missing to make certificates on this machine; None when nothing is."""
    openssl = shutil.which("openssl")
    if openssl is None:
        return "openssl is not on the PATH (OpenSSL 3 or newer is needed)"
    answer = subprocess.run([openssl, "version"], capture_output=True, text=True, timeout=_SECONDS, check=False)  # noqa: S603
    version = answer.stdout.strip()
    known = re.match(r"OpenSSL (\d+)\.", version)
    if known is None or int(known[1]) < _LEAST_OPENSSL:
        return f"OpenSSL {_LEAST_OPENSSL} or newer is needed, got {version or 'no answer'}"
    return None


def make_certificates(folder: Path, common_name: str) -> Certificates:
    """Make a new CA and a server certificate for 127.0.0.1 and localhost.

    Args:
        folder: Where to; made when it is missing, for its owner only.
        common_name: Whom the server's certificate names.

    Raises:
        CertificateError: If openssl is missing or fails.
    """
    if (reason := missing_openssl()) is not None:
        raise CertificateError(reason)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    ca, ca_key, key, certificate, server = (
        folder / name for name in ("ca.pem", "ca.key", "server.key", "server.crt", "server.pem")
    )
    extensions = (
        "-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost",
        "-addext", "extendedKeyUsage=serverAuth,clientAuth",
    )  # fmt: skip
    own_ca = ("-x509", *_KEY, "-days", _DAYS, "-subj", "/CN=a CA for tests")
    _openssl("req", *own_ca, "-keyout", ca_key, "-out", ca)
    signed = ("-x509", *_KEY, "-days", _DAYS, "-subj", f"/CN={common_name}", "-CA", ca, "-CAkey", ca_key)
    _openssl("req", *signed, *extensions, "-addext", "basicConstraints=CA:FALSE", "-keyout", key, "-out", certificate)
    server.touch(mode=0o600)
    server.write_text(key.read_text() + certificate.read_text())
    return Certificates(ca, server)


def _openssl(*arguments: str | Path) -> None:
    command = [shutil.which("openssl") or "openssl", *map(str, arguments)]
    answer = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=False)  # noqa: S603
    if answer.returncode != 0:
        msg = f"openssl {arguments[0]} failed with status {answer.returncode}: {answer.stderr.strip()[-500:]}"
        raise CertificateError(msg)

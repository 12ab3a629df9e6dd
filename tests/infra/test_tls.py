import shutil
import ssl
import stat
from pathlib import Path

import pytest

from infra import tls
from infra.tls import CertificateError, make_certificates, missing_openssl

needs_openssl = pytest.mark.skipif(missing_openssl() is not None, reason=str(missing_openssl()))


@needs_openssl
def test_a_server_certificate_is_trusted_by_its_own_ca_and_names_loopback(tmp_path: Path) -> None:
    made = make_certificates(tmp_path / "tls", "broker")

    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(made.server)
    client = ssl.create_default_context(cafile=str(made.ca))
    assert handshake(client, server, "127.0.0.1")
    assert handshake(client, server, "localhost")
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(client, server, "192.0.2.1")


@needs_openssl
def test_another_ca_does_not_trust_it(tmp_path: Path) -> None:
    made, other = (make_certificates(tmp_path / name, "broker") for name in ("one", "two"))

    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(made.server)
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(ssl.create_default_context(cafile=str(other.ca)), server, "127.0.0.1")


@needs_openssl
def test_only_the_owner_can_read_the_keys(tmp_path: Path) -> None:
    made = make_certificates(tmp_path / "tls", "broker")

    assert stat.S_IMODE(made.server.stat().st_mode) == 0o600
    assert stat.S_IMODE(made.server.parent.stat().st_mode) == 0o700


def test_without_openssl_the_reason_is_plain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: None)

    with pytest.raises(CertificateError, match="openssl is not on the PATH"):
        tls.make_certificates(tmp_path / "tls", "broker")


def handshake(client: ssl.SSLContext, server: ssl.SSLContext, host: str) -> bool:
    """Shake hands in memory; raises what the client makes of the server's certificate."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ours = client.wrap_bio(to_client, to_server, server_hostname=host)
    theirs = server.wrap_bio(to_server, to_client, server_side=True)
    for _ in range(4):
        for side in (ours, theirs):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
    return ours.version() is not None and theirs.version() is not None

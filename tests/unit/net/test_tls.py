"""The certificate: what can't be used is told in one line, and never takes a good one's place."""

from __future__ import annotations

import datetime
import ssl

import pytest
import trustme

from gateway.config import SettingsError
from gateway.net.tls import Certificate

NOON = datetime.datetime(2100, 1, 1, 12, tzinfo=datetime.UTC)


@pytest.fixture(scope="module")
def authority():
    return trustme.CA()


class Files:
    def __init__(self, directory):
        self.cert, self.key = directory / "cert.pem", directory / "key.pem"

    def write(self, authority, **more):
        issued = authority.issue_cert("gateway.example", **more)
        self.key.write_bytes(issued.private_key_pem.bytes())
        self.cert.write_bytes(b"".join(pem.bytes() for pem in issued.cert_chain_pems))
        return self

    def load(self):
        return Certificate(str(self.cert), str(self.key))


@pytest.fixture
def files(tmp_path):
    return Files(tmp_path)


def test_tls_is_1_2_or_newer(files, authority):
    assert files.write(authority).load().context.minimum_version is ssl.TLSVersion.TLSv1_2


def test_the_end_of_the_certificate_is_known(files, authority):
    certificate = files.write(authority, not_after=NOON).load()
    assert certificate.expires_at == NOON.timestamp()


def test_the_key_may_be_in_the_same_file(files, authority):
    files.write(authority, not_after=NOON)
    files.cert.write_bytes(files.key.read_bytes() + files.cert.read_bytes())
    assert Certificate(str(files.cert), "").expires_at == NOON.timestamp()


def break_by_removing_cert(files, authority):
    files.cert.unlink()


def break_by_removing_key(files, authority):
    files.key.unlink()


def break_by_garbage(files, authority):
    files.cert.write_text("not a certificate")


def break_by_another_key(files, authority):
    cert = files.cert.read_bytes()
    files.write(authority).cert.write_bytes(cert)


def break_by_an_encrypted_key(files, authority):
    from cryptography.hazmat.primitives import serialization as pem

    key = pem.load_pem_private_key(files.key.read_bytes(), None)
    files.key.write_bytes(
        key.private_bytes(
            pem.Encoding.PEM, pem.PrivateFormat.PKCS8, pem.BestAvailableEncryption(b"secret")
        )
    )


BREAKS = [
    (break_by_removing_cert, "cert.pem: No such file"),
    (break_by_removing_key, "key.pem: No such file"),
    (break_by_garbage, "cert.pem: "),
    (break_by_another_key, "KEY_VALUES_MISMATCH"),
    (break_by_an_encrypted_key, "encrypted"),
]


@pytest.mark.parametrize(
    ("breaks", "why"), BREAKS, ids=lambda value: getattr(value, "__name__", None)
)
def test_what_cannot_be_used_is_a_bad_setting(files, authority, breaks, why):
    breaks(files.write(authority), authority)
    with pytest.raises(SettingsError, match="--tls-") as error:
        files.load()
    assert why in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("breaks", "why"), BREAKS, ids=lambda value: getattr(value, "__name__", None)
)
def test_the_old_one_stays_when_the_new_one_cannot_be_used(files, authority, caplog, breaks, why):
    certificate = files.write(authority, not_after=NOON).load()
    before = certificate.context
    breaks(files, authority)
    assert not certificate.reload()
    assert certificate.context is before
    assert certificate.expires_at == NOON.timestamp()
    assert certificate.reloads == {"ok": 0, "failed": 1}
    assert why in str([record.fields for record in caplog.records])


def test_a_new_one_is_for_new_connections(files, authority):
    certificate = files.write(authority).load()
    before = certificate.context
    files.write(authority, not_after=NOON)
    assert certificate.reload()
    assert certificate.context is not before
    assert certificate.expires_at == NOON.timestamp()
    assert certificate.reloads == {"ok": 1, "failed": 0}


def test_an_expired_one_is_used_and_complained_about(files, authority, caplog):
    """Better a warning at the client than no gateway."""
    past = datetime.datetime(2001, 1, 1, tzinfo=datetime.UTC)
    certificate = files.write(authority, not_after=past).load()
    assert certificate.expires_at is None
    assert "expired" in str([record.fields for record in caplog.records])

"""One set of security settings serves librdkafka and Faust."""

import ssl

import pytest

from stream_router.adapters.faust.credentials import faust_credentials
from stream_router.errors import SettingError

SASL = {"sasl.mechanism": "SCRAM-SHA-512", "sasl.username": "me", "sasl.password": "hidden"}


def test_a_plain_connection_needs_none() -> None:
    assert faust_credentials({}) is None
    assert faust_credentials({"security.protocol": "plaintext"}) is None


@pytest.mark.parametrize("encrypted", [True, False])
def test_user_and_password_are_handed_on(encrypted: bool) -> None:
    credentials = faust_credentials({"security.protocol": "SASL_SSL" if encrypted else "SASL_PLAINTEXT", **SASL})
    assert (credentials.username, credentials.password) == ("me", "hidden")
    assert credentials.mechanism.value == "SCRAM-SHA-512"
    assert (credentials.ssl_context is not None) == encrypted


def test_a_certificate_is_verified_unless_told_otherwise() -> None:
    strict = faust_credentials({"security.protocol": "SSL"}).context
    assert strict.verify_mode == ssl.CERT_REQUIRED
    assert strict.check_hostname
    name_ignored = {"security.protocol": "SSL", "ssl.endpoint.identification.algorithm": "none"}
    assert not faust_credentials(name_ignored).context.check_hostname
    trusting = {"security.protocol": "SSL", "enable.ssl.certificate.verification": "false"}
    assert faust_credentials(trusting).context.verify_mode == ssl.CERT_NONE


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"security.protocol": "TLS"}, "TLS"),
        ({"security.protocol": "SASL_SSL", "sasl.mechanism": "GSSAPI"}, "GSSAPI"),
        ({"security.protocol": "SSL", "ssl.ca.location": "/nowhere.pem"}, "ssl"),
    ],
)
def test_what_faust_cannot_do_is_refused(settings: dict[str, str], named: str) -> None:
    with pytest.raises(SettingError, match=named):
        faust_credentials(settings)

"""librdkafka's security settings as Faust's credentials, so that one set of settings serves every client."""

import ssl
from collections.abc import Mapping
from typing import Any, Final

import faust

from stream_router.errors import SettingError

_MECHANISMS: Final = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")


def faust_credentials(kafka: Mapping[str, str]) -> Any:
    """Faust's `broker_credentials`, None for a plain connection. Raises SettingError for what Faust cannot do."""
    protocol = kafka.get("security.protocol", "PLAINTEXT").upper()
    if protocol == "PLAINTEXT":
        return None
    if protocol == "SSL":
        return faust.SSLCredentials(_context(kafka))
    if protocol not in ("SASL_PLAINTEXT", "SASL_SSL"):
        raise SettingError(
            f"kafka security.protocol is {protocol!r}: use PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL",
        )
    mechanism = kafka.get("sasl.mechanism", kafka.get("sasl.mechanisms", "")).upper()
    if mechanism not in _MECHANISMS:
        raise SettingError(f"kafka sasl.mechanism is {mechanism!r}: the monitor can use {', '.join(_MECHANISMS)}")
    return faust.SASLCredentials(
        username=kafka.get("sasl.username"),
        password=kafka.get("sasl.password"),
        mechanism=mechanism,
        ssl_context=_context(kafka) if protocol == "SASL_SSL" else None,
    )


def _context(kafka: Mapping[str, str]) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=kafka.get("ssl.ca.location"), cadata=kafka.get("ssl.ca.pem"))
        if kafka.get("ssl.endpoint.identification.algorithm", "https") == "none":
            context.check_hostname = False
        if str(kafka.get("enable.ssl.certificate.verification", "true")).lower() == "false":
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        if certificate := kafka.get("ssl.certificate.location"):
            context.load_cert_chain(certificate, kafka.get("ssl.key.location"), kafka.get("ssl.key.password"))
    except OSError as error:  # also ssl.SSLError
        raise SettingError(f"the kafka ssl.* settings cannot be used: {error}") from error
    return context

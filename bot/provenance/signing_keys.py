"""Makes the operator's own signing keys: a root that anyone may trust, and a certificate below it that signs pictures."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

YEARS = 10
"""Without time stamps a signature ends with its certificate, so that is valid for long."""

_SKEW = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class SigningKeys:
    """Certificates and key in PEM.

    Attributes:
        root: The root's certificate, to hand out.
        chain: The signing certificate, then the root.
        key: The signing key (PKCS 8); secret.
        root_key: The root's key, to keep elsewhere; secret.
    """

    root: bytes
    chain: bytes
    key: bytes = field(repr=False)
    root_key: bytes = field(repr=False)


def new_signing_keys(organisation: str, *, now: datetime | None = None) -> SigningKeys:
    """Return new keys on the curve P-256, whose certificates name this organisation.

    The signing certificate has what C2PA asks for: no CA, digitalSignature, and emailProtection as extended key usage
    (C2PA specification 2.1, section 14.5.1).
    """
    begin = (now or datetime.now(UTC)) - _SKEW
    root_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    issuer = _name(organisation, f"{organisation} root")
    root = (
        _certificate(issuer, issuer, root_key.public_key(), begin)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs=False), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(root_key.public_key()), critical=False)
        .sign(root_key, hashes.SHA256())
    )
    leaf = (
        _certificate(_name(organisation, f"{organisation} pictures"), issuer, key.public_key(), begin)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs=True), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(root_key.public_key()), critical=False)
        .sign(root_key, hashes.SHA256())
    )
    root_pem = root.public_bytes(serialization.Encoding.PEM)
    return SigningKeys(
        root_pem, leaf.public_bytes(serialization.Encoding.PEM) + root_pem, key=_pem(key), root_key=_pem(root_key)
    )


def _name(organisation: str, common: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, organisation[:64]),
            x509.NameAttribute(NameOID.COMMON_NAME, common[:64]),
        ]
    )


def _certificate(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, begin: datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(begin + timedelta(days=366 * YEARS))
    )


def _usage(*, signs: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=signs,
        key_cert_sign=not signs,
        crl_sign=not signs,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )

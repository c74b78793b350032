"""How are keys and certificates written in files? PEM, one thing a file, never with a password."""

import base64
import ssl
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from ringgossip.errors import CredentialsError

_BEGIN, _END = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"


def pem_of(der: bytes) -> bytes:
    """Return a certificate's PEM text."""
    return ssl.DER_cert_to_PEM_cert(der).encode()


def single_pem(content: bytes) -> bytes:
    """Return the DER bytes of the one certificate in `content`; raises `ValueError`."""
    text = content.decode("ascii").strip()
    if not (text.startswith(_BEGIN) and text.endswith(_END)) or text.count("-----BEGIN") != 1:
        raise ValueError("it does not hold exactly one certificate")
    return base64.b64decode("".join(text[len(_BEGIN) : -len(_END)].split()), validate=True)


def private_pem(key: Ed25519PrivateKey) -> bytes:
    """Return a private key's PEM text, unencrypted: the file's mode guards it."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def private_key_from_pem(content: bytes, path: Path, remedy: str) -> Ed25519PrivateKey:
    """Read an Ed25519 private key; raises `CredentialsError` that names `path` and ends in `remedy`."""
    try:
        key = load_pem_private_key(content, password=None)
    except TypeError:
        raise CredentialsError(f"{path} has a password, which a peer cannot ask for: {remedy}") from None
    except (ValueError, UnsupportedAlgorithm):
        raise CredentialsError(f"{path} is damaged: {remedy}") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise CredentialsError(f"{path} is not an Ed25519 key: {remedy}")
    return key

"""A session's own key pair: the private key in ``id_container``, the public one in ``.ssh``.

As on a server: made when the session starts, in OpenSSH's format, and not at all where ``authorized_keys`` is
there already (API reference 6.5). It is an ECDSA key, which takes no time to make; a server's is RSA.
"""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

PRIVATE = "id_container"


def has_sshd() -> bool:
    """Tell whether sessions can offer SSH: asyncssh is installed."""
    return importlib.util.find_spec("asyncssh") is not None


def write_keys(work: Path) -> None:
    """Make a key pair in a session's work folder, unless its user has brought keys.

    Raises:
        OSError: They cannot be written.
    """
    folder = work / ".ssh"
    folder.mkdir(mode=0o700, exist_ok=True)
    authorized = folder / "authorized_keys"
    if authorized.exists():
        return
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.OpenSSH,
        serialization.NoEncryption(),
    )
    public = key.public_key().public_bytes(
        serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH
    )
    (work / PRIVATE).unlink(missing_ok=True)  # of a container before this one
    _write(work / PRIVATE, private)
    _write(authorized, public + b" work@session\n")


def _write(path: Path, data: bytes) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(data)

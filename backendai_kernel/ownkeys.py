"""SSH keys of the user's own, for all sessions to come: in a virtual folder that each of them has.

Servers keep the folder name ``.ssh`` for themselves, and mount nothing there (26.4.16: "reserved
for internal operations", "reserved for internal path"). So the keys lie in a folder of another
name. Its leading dot has every new session mount it, and `sshaccess` has a session let them in when
it is first reached.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import tempfile
from dataclasses import dataclass
from pathlib import Path

from .client import Client
from .errors import APIError, ConfigError
from .storage import download_files, plan_download, upload_files
from .upload import Planned
from .vfolders import ensure_folder, list_entries, list_folders

FOLDER = ".bai-ssh"
FILE = "authorized_keys"
_LARGEST = 2**16  # bytes of all keys together


@dataclass(frozen=True, slots=True)
class OwnKeys:
    """What has come of it.

    Attributes:
        fingerprints: Of all keys that sessions let in now, the given one among them.
        fingerprint: Of the given one.
        is_new: It was not there before.
    """

    fingerprint: str
    fingerprints: tuple[str, ...]
    is_new: bool


async def use_key(client: Client, path: Path) -> OwnKeys:
    """Have new sessions let a key in; a second time changes nothing.

    Args:
        path: The file with the public key, such as ``~/.ssh/id_ed25519.pub``.

    Raises:
        ConfigError: It is no public key.
        ConnectError, APIError, ProtocolError: As `Client.send`.
    """
    line = read_public_key(path)
    folder, _ = await ensure_folder(client, FOLDER)
    if not folder.is_owner:
        raise ConfigError(
            f"Your virtual folder {FOLDER} is somebody else's, who shares it with you.",
            hint="Leave it first: their keys would open your sessions.",
        )
    there = await list_entries(client, folder)
    with tempfile.TemporaryDirectory(prefix="bai-") as place:
        file = Path(place, FILE)
        lines: list[str] = []
        if any(entry.name == FILE for entry in there):
            wanted, _ = await plan_download(client, folder, [FILE], file.parent, limit=_LARGEST)
            await download_files(client, folder, wanted)
            lines = (await asyncio.to_thread(file.read_text, "utf-8")).splitlines()
        known = [fingerprint_of(each) for each in lines]
        mark = fingerprint_of(line)
        if is_new := mark not in known:
            text = "".join(f"{each}\n" for each in [*lines, line]).encode()
            await asyncio.to_thread(file.write_bytes, text)
            await upload_files(client, folder, [Planned(file, FILE, len(text))])
            known.append(mark)
    return OwnKeys(mark, tuple(each for each in known if each), is_new)


async def has_keys(client: Client) -> bool:
    """Tell whether new sessions have keys of the user's own, and nobody else's in their place."""
    try:
        named = [each for each in await list_folders(client) if each.name == FOLDER]
    except APIError:  # no folders for this user: no keys in one
        return False
    return bool(named) and all(each.is_owner for each in named)


def read_public_key(path: Path) -> str:
    """Return the line of a public key's file.

    Raises:
        ConfigError: It cannot be read, or is something else; above all, if it is a private key.
    """
    try:
        text = path.expanduser().read_bytes()[:_LARGEST].decode("utf-8", "replace")
    except OSError as exc:
        raise ConfigError(
            f"{path} cannot be read: {exc.strerror}.", hint="`ssh-keygen -t ed25519` makes a key."
        ) from exc
    if "PRIVATE KEY-----" in text:
        raise ConfigError(
            f"{path} is a private key, which stays where it is.",
            hint=f"Name the public one: {path}.pub",
        )
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if len(lines) != 1 or not fingerprint_of(lines[0]):
        raise ConfigError(
            f"{path} is no public key of OpenSSH.", hint="It is one line, such as in id_ed25519.pub"
        )
    return lines[0]


def fingerprint_of(line: str) -> str:
    """Return the fingerprint of a line such as ``ssh-ed25519 AAAA… me@home``, or ``""``."""
    words = line.split()
    if len(words) < 2:
        return ""
    try:
        key = base64.b64decode(words[1], validate=True)
    except (binascii.Error, ValueError):
        return ""
    kind = words[0].encode()
    if not key.startswith(len(kind).to_bytes(4, "big") + kind):
        return ""
    digest = base64.b64encode(hashlib.sha256(key).digest()).decode().rstrip("=")
    return f"SHA256:{digest}"

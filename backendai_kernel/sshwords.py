"""What is told of SSH: the line to type, where the key lies, whose keys a session lets in."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from .ownkeys import FOLDER, OwnKeys
from .sshkeys import Place, host_of
from .tables import Facts


def access_facts(
    name: str,
    place: Place,
    *,
    is_configured: bool,
    key: str,
    host_key: str,
    written: Sequence[Path] = (),
) -> Facts:
    """Tell how to reach a session that `sshaccess.prepare` has seen to.

    Args:
        name: The session's.
        is_configured: OpenSSH knows our hosts by itself.
        key, host_key: Fingerprints.
        written: Files of OpenSSH's configuration that were just written.
    """
    host = host_of(name)
    line = f"ssh {host}" if is_configured else f"backendai-kernel ssh {name}"
    rows = [("Type", line)]
    if is_configured:
        rows += [
            ("Copy there", f"scp FILE {host}:"),
            ("VS Code", f"code --remote ssh-remote+{host} /home/work"),
        ]
    rows += [("Key", str(place.key(host))), ("Its fingerprint", key), ("Host key", host_key)]
    note = (
        "The host key was proved over the signed API, and no other one is accepted."
        if is_configured
        else f"`%bai ssh {name} --config` lets `ssh {host}`, scp, rsync and editors know it, too."
    )
    return Facts(
        f"✓ The session {name} can be reached with SSH.",
        tuple((label, value) for label, value in rows if value),
        data={
            "session": name,
            "host": host,
            "line": line,
            "key": str(place.key(host)),
            "fingerprint": key,
            "host_fingerprint": host_key,
            "configured": is_configured,
            "written": [str(path) for path in written],
        },
        note=note,
    )


def own_keys_facts(keys: OwnKeys) -> Facts:
    """Tell which keys of the user's own sessions let in."""
    done = "is there now" if keys.is_new else "was there already"
    return Facts(
        f"✓ The key {done}.",
        tuple(
            ("This key" if mark == keys.fingerprint else "Another", mark)
            for mark in keys.fingerprints
        ),
        data={
            "fingerprint": keys.fingerprint,
            "fingerprints": list(keys.fingerprints),
            "is_new": keys.is_new,
            "folder": FOLDER,
        },
        note=f"It lies in your virtual folder {FOLDER}, which every session has that is started "
        "from now on. A session lets it in once it has been reached with `%bai ssh`, "
        "`backendai-kernel ssh` or `ssh bai-NAME`.",
    )

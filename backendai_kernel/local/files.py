"""Files of a session: taken in, packed, listed. Nothing outside the work folder is touched.

Source: API reference 4.10; recordings 30, 31.
"""

from __future__ import annotations

import io
import json
import os
import stat
import tarfile
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import Any

from .coderunner import AgentFailure

HOME = PurePosixPath("/home/work")
ARCHIVE_LIMIT = 2**20  # bytes of a whole archive
_END = 2 * tarfile.BLOCKSIZE  # zeros that end an archive


def save_upload(work: Path, name: str, data: bytes, mounts: Iterable[Path] = ()) -> None:
    """Write one uploaded file; folders that are missing are made.

    Args:
        mounts: Where links may lead: folders that are mounted there to be written to.

    Raises:
        AgentFailure: The name leads out of the work folder, or it cannot be written.
    """
    path = _inside(work, name, mounts=mounts)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    except OSError as exc:
        raise AgentFailure(f"writing uploaded file failed: {name} ({exc!r})") from exc


def archive(
    work: Path,
    path: str,
    *,
    limit: int | None = ARCHIVE_LIMIT,
    mounts: Iterable[Path] = (),
) -> bytes:
    """Return a file or folder as an uncompressed tar; the entry has the last part of its path.

    Args:
        limit: Refuse a larger archive, in bytes, as the server does.
        mounts: Where links may lead, because the server has folders mounted there.

    Raises:
        AgentFailure: There is no such file, it is outside the work folder, or it is too large.
    """
    found = _inside(work, path, mounts=mounts)
    content = found.resolve() if found.is_symlink() and found.is_dir() else found  # a mount
    packed = io.BytesIO()
    try:
        with tarfile.open(fileobj=packed, mode="w", format=tarfile.GNU_FORMAT) as tar:
            tar.add(content, arcname=found.name, filter=_owned_by_work)
            size = packed.tell() + _END
    except OSError as exc:
        raise AgentFailure(f"could not download the archive: {path}") from exc
    if limit is not None and size > limit:
        raise AgentFailure("too large archive file exceeding 1 MiB")
    return packed.getvalue()[:size]  # without the padding to a tape's block


def _owned_by_work(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.uid = entry.gid = 1000
    entry.uname = entry.gname = "work"
    return entry


def list_files(work: Path, path: str) -> dict[str, Any]:
    """Return what is in a folder, as the API words it: ``files`` is itself JSON, as text.

    A folder that does not exist gives no files and a message in ``errors``. Links are followed,
    wherever they lead: only the words of the path are looked at, as on the server.

    Raises:
        AgentFailure: The path itself leads out of the work folder.
    """
    folder = _inside(work, path, follow=True)
    try:
        with os.scandir(folder) as entries:
            files = json.dumps([_described(entry) for entry in entries]) + "\n"
    except OSError as exc:
        return {"files": "", "errors": f"{type(exc).__name__}: {exc}\n", "abspath": path}
    return {"files": files, "errors": "", "abspath": path}


def _described(entry: os.DirEntry[str]) -> dict[str, Any]:
    found = entry.stat(follow_symlinks=False)
    return {
        "mode": stat.filemode(found.st_mode),
        "size": found.st_size,
        "ctime": found.st_ctime,
        "mtime": found.st_mtime,
        "atime": found.st_atime,
        "filename": entry.name,
    }


def _inside(work: Path, path: str, *, follow: bool = False, mounts: Iterable[Path] = ()) -> Path:
    """Return where *path*, relative to ``/home/work`` or below it, is on this computer.

    Raises:
        AgentFailure: It leads out of the work folder, by itself or, unless *follow*, through a link.
    """
    if "\0" in path:
        raise AgentFailure(f"not a path: {path!r}")
    wanted = PurePosixPath(os.path.normpath(HOME / path))
    root = work.resolve()
    found = root / wanted.relative_to(HOME) if wanted.is_relative_to(HOME) else None
    roots = (root, *(mount.resolve() for mount in mounts))
    if found is None or not (follow or any(map(found.resolve().is_relative_to, roots))):
        raise AgentFailure(f"not allowed outside {HOME}: {path}")
    return found

"""Archives from a server, unpacked where they belong; what they say is not trusted."""

from __future__ import annotations

import os
import shutil
import stat
import tarfile
from collections.abc import Callable
from pathlib import Path, PurePosixPath

from .archive import BROKEN, open_tar
from .errors import ProtocolError
from .places import LIMIT, check_room, make_folder, whole_or_none


def unpack(
    packed: bytes,
    to: Path,
    *,
    name: str = "",
    limit: int = LIMIT,
    on_left_out: Callable[[str], None] = lambda name: None,
) -> list[Path]:
    """Unpack a tar into a folder; return the files and folders at its top.

    Files and folders alone are made; a hard link to a file of the archive becomes a copy of it.
    Nothing is written when the archive is refused.

    Args:
        name: What its top is called here, in place of its own name.
        on_left_out: Told of symbolic links, other hard links, devices and pipes.

    Raises:
        ProtocolError: An entry has an absolute path or ``..``, or would be written through a link
            of this computer; or it is no archive.
        ConfigError: It takes more than *limit* bytes when it is unpacked, or cannot be written.
    """
    try:
        with open_tar(packed) as tar:
            places: list[tuple[tarfile.TarInfo, Path]] = []
            odd = []
            files: dict[str, tarfile.TarInfo] = {}
            for member in tar.getmembers():
                path = _checked(member, to, name)
                content = files.get(member.linkname) if member.islnk() else member
                if content is None or not (content.isdir() or content.isreg()):
                    odd.append(str(path))
                    continue
                if content.issparse():
                    raise _refused(member, "a file with holes")
                if content.isreg():
                    files[member.name] = content
                places.append((content, to / path))
            check_room(sum(content.size for content, _ in places), to, limit)
            for content, place in places:
                if content.isdir():
                    make_folder(place)
                    continue
                opened = tar.extractfile(content)
                assert opened is not None
                with whole_or_none(place) as file:
                    shutil.copyfileobj(opened, file)
                place.chmod(stat.S_IMODE(content.mode) & 0o755 | stat.S_IRUSR | stat.S_IWUSR)
    except BROKEN as exc:
        raise ProtocolError(f"The server sent a broken archive: {exc}.") from exc
    for each in odd:
        on_left_out(each)
    return list(dict.fromkeys(to / place.relative_to(to).parts[0] for _, place in places))


def link_of(packed: bytes) -> str:
    """Return where an archive leads that is nothing but a symbolic link; ``""``: it is none."""
    try:
        with open_tar(packed) as tar:
            member = tar.next()
            return member.linkname if member is not None and member.issym() else ""
    except BROKEN:
        return ""  # unpacking it tells


def _checked(member: tarfile.TarInfo, to: Path, name: str) -> PurePosixPath:
    """Return the path of an entry below *to*.

    Raises:
        ProtocolError: It leads elsewhere.
    """
    path = PurePosixPath(member.name)
    is_inside = path.parts and not path.is_absolute() and ".." not in path.parts
    if not is_inside or "\0" in member.name or "\\" in member.name * (os.sep != "/"):
        raise _refused(member, "what leads out of the folder")
    if name:
        path = PurePosixPath(name, *path.parts[1:])
    if not (to / path).parent.resolve().is_relative_to(to.resolve()):
        raise ProtocolError(
            f"{to / path} would be written through a link to elsewhere. Nothing was unpacked."
        )
    return path


def _refused(member: tarfile.TarInfo, what: str) -> ProtocolError:
    return ProtocolError(
        f"The archive from the server has {what}: {member.name!r}. Nothing was unpacked.",
        hint="Name the files that you want, in place of their folder.",
    )

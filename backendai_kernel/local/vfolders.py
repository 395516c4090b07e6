"""Virtual folders on this computer: what there is, whose it is, and where its files lie.

They outlive sessions and the manager itself: an index in JSON beside one folder for each.
"""

from __future__ import annotations

import re
import uuid
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any

import msgspec

from ..config import write_private
from . import problems
from .auth import KeyPair
from .files import HOME
from .problems import Problem
from .release import Release

HOST = "local:volume1"
READY = "ready"
TRASHED = "delete-pending"
LONGEST_NAME = 64
STAGING = ".upload"
_NAME = re.compile(r"^\.?[a-zA-Z0-9]([a-zA-Z0-9._-]*[a-zA-Z0-9])?$")
_RESERVED = re.compile(r"^\.(terminfo|jupyter|tmux\.conf|ssh|[^.]*rc|[^.]*_profile)$")


@dataclass
class FolderRecord:
    """One folder.

    Attributes:
        shared: E-mail address → permission of who has accepted it; of a project's folder, which
            everybody has, who has another permission than the folder's.
    """

    name: str
    owner: str
    permission: str = "rw"
    usage_mode: str = "general"
    cloneable: bool = False
    group: str | None = None
    status: str = READY
    id: str = field(default_factory=lambda: str(uuid.uuid4()))
    created_at: str = field(default_factory=lambda: str(datetime.now(UTC)))
    shared: dict[str, str] = field(default_factory=dict)

    @property
    def hex(self) -> str:
        return self.id.replace("-", "")


@dataclass
class InvitationRecord:
    """A folder that is offered to somebody."""

    folder: str
    inviter: str
    invitee: str
    perm: str
    id: str = field(default_factory=lambda: str(uuid.uuid4()))
    created_at: str = field(default_factory=lambda: str(datetime.now(UTC)))


class Folders:
    """All virtual folders of one manager.

    Args:
        root: Where they are kept; made when the first one is.
    """

    def __init__(self, root: Path, release: Release) -> None:
        self._root = root
        self._release = release
        self._index = root / "index.json"
        self.records: list[FolderRecord] = []
        self.invitations: list[InvitationRecord] = []
        if self._index.exists():
            kept = msgspec.json.decode(self._index.read_bytes())
            self.records = [FolderRecord(**each) for each in kept["folders"]]
            self.invitations = [InvitationRecord(**each) for each in kept["invitations"]]

    def save(self) -> None:
        """Write down what there is."""
        self._root.mkdir(mode=0o700, parents=True, exist_ok=True)
        kept = {
            "folders": [asdict(each) for each in self.records],
            "invitations": [asdict(each) for each in self.invitations],
        }
        write_private(self._index, msgspec.json.encode(kept))

    def place(self, record: FolderRecord) -> Path:
        """Return where a folder's files lie."""
        return self._root / record.hex

    def of(self, who: KeyPair) -> list[FolderRecord]:
        """Return the folders that somebody may use, those in the trash too."""
        return [each for each in self.records if _may_use(each, who)]

    def permission(self, record: FolderRecord, who: KeyPair) -> str:
        """Return what somebody may do with a folder: ``ro``, ``rw`` or ``wd``."""
        if record.owner == who.user_id:
            return record.permission
        if record.group is not None:
            return record.shared.get(who.user_id, record.permission)
        return record.shared[who.user_id]

    def find(self, word: str, who: KeyPair) -> FolderRecord:
        """Return the folder of that name or id.

        Raises:
            Problem: There is none (404), or there are several (404, 409 in newer servers).
        """
        usable = self.of(who)
        for record in usable:
            if word.replace("-", "") == record.hex:
                return record
        named = [each for each in usable if each.name == word and each.status == READY]
        if len(named) > 1:
            raise Problem(
                409 if self._release.error_codes else 404,
                "too-many-vfolders",
                "There are two or more matching vfolders.",
                "vfolder_read_conflict",
            )
        if not named:
            raise problems.not_found("No such virtual folder.", "vfolder_read_not-found", data=word)
        return named[0]

    def check_name(self, name: str, who: KeyPair) -> None:
        """Refuse a name that is taken, reserved or too long; older servers, what is no word, too.

        Raises:
            Problem: Always a 400.

        Source: API reference 7.1; the newest server (26.4.16) takes any characters.
        """
        if len(name) > LONGEST_NAME or _RESERVED.match(name):
            why = (
                f"The length of VFolder name should be shorter than {LONGEST_NAME}."
                f" (len: {len(name)})"
                if len(name) > LONGEST_NAME
                else f"VFolder name '{name}' is reserved for internal operations"
            )
            raise problems.unreadable_field(f"Schema validation failed. ({why})")
        if not self._release.files_in_query and not _NAME.match(name):
            raise problems.invalid_params(f"Input validation error: {name!r} is no name")
        if any(each.name == name and each.status == READY for each in self.of(who)):
            if not self._release.error_codes:
                raise Problem(
                    400,
                    "vfolder-already-exists",
                    "The virtual folder already exists with the same name.",
                    "vfolder_create_already-exists",
                    data=name,
                )
            raise problems.invalid_params(
                "The virtual folder already exists with the same name. "
                f"(VFolder with the given name already exists. ({name}))"
            )

    def add(self, record: FolderRecord) -> None:
        """Make a folder."""
        self.place(record).mkdir(mode=0o700, parents=True)
        self.records.append(record)
        self.save()

    def mounts(
        self, config: dict[str, Any], who: KeyPair
    ) -> tuple[dict[str, Path], tuple[Path, ...]]:
        """Return where in a session which folders are to be, and which may only be read there.

        The first is path below its home → place here. To be read only are those of which the user
        has no more, and those that ``mount_options`` wants so.

        Raises:
            Problem: There is no such folder (404), or it cannot be there (400).

        Source: API reference 4.3.2; recording 71.
        """
        targets = {**(config.get("mountMap") or {}), **(config.get("mount_map") or {})}
        ids = {str(each): each for each in config.get("mount_ids") or ()}
        targets |= config.get("mount_id_map") or {}
        options = config.get("mount_options") or {}
        found: dict[str, Path] = {}
        read_only: dict[Path, None] = {}
        for word in [*map(str, config.get("mounts") or ()), *ids]:
            name, _, inner = word.partition("/")
            try:
                record = self.find(name, who)
            except Problem as problem:
                problem.data = [word] if problem.status == 404 else problem.data
                raise
            inside = _below_home(targets.get(word) or targets.get(name) or record.name)
            place = self.place(record).joinpath(inner)
            if not place.resolve().is_relative_to(self.place(record).resolve()):
                raise problems.invalid_params(f"{word} leads out of the virtual folder.")
            found[inside] = place
            asked = (options.get(word) or options.get(name) or {}).get("permission")
            if "ro" in (asked, self.permission(record, who)):
                read_only[place] = None
        for record in self.of(who):  # a leading dot means that every session has it
            if record.name.startswith(".") and record.status == READY:
                found.setdefault(record.name, self.place(record))
                if self.permission(record, who) == "ro":
                    read_only[self.place(record)] = None
        return found, tuple(read_only)


def _below_home(target: str) -> str:
    path = PurePosixPath(HOME / target)
    if ".." in path.parts or not path.is_relative_to(HOME) or path == HOME:
        raise problems.invalid_params(
            f"The embedded manager mounts folders below {HOME} only, and not at {target}."
        )
    return str(path.relative_to(HOME))


def _may_use(record: FolderRecord, who: KeyPair) -> bool:
    return record.owner == who.user_id or record.group is not None or who.user_id in record.shared

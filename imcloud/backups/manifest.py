"""manifest.json: what a backup holds. It is written last: a folder without one is not a backup."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from imcloud.backups import BackupError

NAME = "manifest.json"
FORM = 1  # of the manifest
CONTROL = "control"  # the kind, and the name, of the control database
SET = "set"
BLOCK = 1 << 20  # bytes read at a time


@dataclass(frozen=True, slots=True)
class Dump:
    """One database in the backup, as of the moment of the backup."""

    kind: str  # CONTROL or SET
    name: str  # the SET's
    file: str
    bytes: int
    sha256: str
    seconds: float  # that the dump took
    server: int  # PostgreSQL's major version
    migrations: list[str]  # app.name of those that had run there
    rows: dict[str, int]  # table -> rows
    epoch: int = 0  # of the SET's head, as the next two
    seq: int = 0
    time: int = 0  # ms

    @property
    def total(self) -> int:
        return sum(self.rows.values())

    def __str__(self) -> str:
        return "the control database" if self.kind == CONTROL else f"SET {self.name}"


@dataclass(frozen=True, slots=True)
class Manifest:
    """A whole backup."""

    at: str  # when: everything that was committed before it is there, nothing that came later. ISO 8601, UTC
    seconds: float
    dumps: list[Dump]

    @property
    def moment(self) -> datetime:
        return datetime.fromisoformat(self.at)

    def write(self, folder: Path) -> None:
        """BackupError never: whoever calls it takes the folder away when it fails."""
        content = {"form": FORM, "at": self.at, "seconds": self.seconds}
        content["databases"] = [asdict(dump) | {"total_rows": dump.total} for dump in self.dumps]
        with open(folder / NAME, "w") as file:
            json.dump(content, file, indent=1)
            file.write("\n")
            file.flush()
            os.fsync(file.fileno())
        sync_folder(folder)


def read(folder: Path) -> Manifest:
    """BackupError when the folder is no backup."""
    try:
        content: dict[str, Any] = json.loads((folder / NAME).read_text())
        if content["form"] != FORM:
            raise BackupError(f"{folder} is a backup in form {content['form']}; this imcloud reads {FORM}.")
        dumps = [
            Dump(**{name: value for name, value in each.items() if name != "total_rows"})
            for each in content["databases"]
        ]
        manifest = Manifest(content["at"], content["seconds"], dumps)
        manifest.moment  # noqa: B018
    except FileNotFoundError:
        raise BackupError(f"{folder} is not a backup: it has no {NAME}.") from None
    except OSError as error:
        raise BackupError(f"{folder / NAME} cannot be read: {error.strerror}.") from None
    except (ValueError, TypeError, LookupError):
        raise BackupError(f"{folder} is not a backup: its {NAME} is damaged.") from None
    return manifest


def verify(folder: Path, dump: Dump) -> None:
    """BackupError when the dump's file is not the one that was written."""
    file = folder / dump.file
    if file.parent != folder or not file.is_file():
        raise BackupError(f"The backup is not whole: {file} is missing.")
    size = file.stat().st_size
    if size != dump.bytes:
        raise BackupError(f"{file} is damaged: it has {size} bytes, and had {dump.bytes} when it was made.")
    if digest(file) != dump.sha256:
        raise BackupError(f"{file} is damaged: its checksum is not the one of the backup.")


def digest(file: Path) -> str:
    """SHA-256"""
    with open(file, "rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def sync_folder(folder: Path) -> None:
    """Have on disk which files the folder has."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

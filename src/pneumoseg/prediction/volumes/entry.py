"""One line of a CT run's manifest: a volume, or the reason why something found is none."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast

from pneumoseg.prediction.run_folder import Entry, digest
from pneumoseg.reading.volumes import VolumeFailure, VolumeInput

_REFUSED = "refused"


@dataclass(frozen=True)
class VolumeEntry(Entry):
    """A volume found below the paths of the call.

    ``path`` is the file; of a DICOM series the folder its files lie in, ``#`` and its name, since
    several may lie in one folder. ``size`` and ``mtime_ns`` are the sum and the latest of all its
    files.
    """

    kind: str = ""
    name: str = ""
    series_instance_uid: str | None = None
    files: tuple[str, ...] = ()
    part: tuple[str, str] | None = None
    notes: tuple[str, ...] = ()
    code: str = ""
    message: str = ""

    @classmethod
    def of_found(cls, found: VolumeInput | VolumeFailure) -> VolumeEntry:
        """Describe what was found, as its files are now."""
        files: tuple[str, ...]
        if isinstance(found, VolumeFailure):
            path = str(found.path)
            files = () if found.path.is_dir() else (str(found.path.absolute()),)
            # Several series of one folder may be refused: each is an input of its own.
            own = digest(f"{found.code} {found.message}").hex()
            size, mtime_ns = _stamp(files)
            return cls(
                path,
                f"{found.path.absolute()}#{own}",
                size,
                mtime_ns,
                kind=_REFUSED,
                files=files,
                code=found.code,
                message=found.message,
            )
        behind = f"#{found.name}" if found.kind == "series" else ""
        files = tuple(str(path.absolute()) for path in found.files)
        size, mtime_ns = _stamp(files)
        return cls(
            f"{found.path}{behind}",
            f"{found.path.absolute()}{behind}",
            size,
            mtime_ns,
            kind=found.kind,
            name=found.name,
            series_instance_uid=found.series_instance_uid,
            files=files,
            part=found.part,
            notes=found.notes,
        )

    @property
    def changed(self) -> bool:
        """Whether other files are there than those described; removed ones have not changed."""
        now = _stamp(self.files)
        return now != (-1, -1) and now != (self.size, self.mtime_ns)

    def volume(self) -> VolumeInput | None:
        """What to open; None for something that was refused."""
        if self.kind == _REFUSED:
            return None
        path = Path(self.path.removesuffix(f"#{self.name}") if self.kind == "series" else self.path)
        return VolumeInput(
            path,
            cast(Literal["series", "nifti", "picture"], self.kind),
            self.series_instance_uid,
            tuple(Path(name) for name in self.files),
            self.name,
            None if self.part is None else (self.part[0], self.part[1]),
            tuple(self.notes),
        )


def _stamp(files: tuple[str, ...]) -> tuple[int, int]:
    """Sum of sizes and latest change, or (-1, -1) where a file cannot be seen or there is none."""
    try:
        found = [Path(name).stat() for name in files]
    except OSError:
        return -1, -1
    if not found:
        return -1, -1
    return sum(one.st_size for one in found), max(one.st_mtime_ns for one in found)

"""Unpacking of archives: completely or not at all, and never outside of the target folder."""

from __future__ import annotations

import os
import shutil
import tarfile
import zipfile
import zlib
from pathlib import Path

from auricle.errors import DownloadError, StorageError
from auricle.storage import FULL, free_bytes

_TARS = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")


# Audio hardly compresses: an archive that grows by more than this, beyond the first bytes, is no data set.
MOST_EXPANSION = 100
SMALL = 1 << 30


def can_unpack(name: str) -> bool:
    """Return whether `unpack` supports a file of this name."""
    lower = name.lower()
    return lower.endswith(".zip") or lower.endswith(_TARS)


def unpack(archive: Path, folder: Path) -> None:
    """Unpack a .zip or .tar(.gz) into a folder; existing files of the same names are replaced.

    Files are moved into the folder after unpacking: an interruption leaves no incomplete files there.

    Raises:
        DownloadError: the archive is damaged, of an unknown kind, contains files outside of the folder, or is too large
            unpacked (for the disk, or for an archive of this size).
        StorageError: the disk is full.
    """
    beside = folder / f".unpacking-{archive.name}"
    shutil.rmtree(beside, ignore_errors=True)
    try:
        beside.mkdir(parents=True)
        _extract(archive, beside)
        _move_into(beside, folder)
    except (zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError, NotImplementedError) as error:
        raise DownloadError(f"{archive} can't be unpacked: {error}; delete it and download it again") from error
    except OSError as error:
        if error.errno not in FULL:
            raise
        raise StorageError(
            f"{archive} can't be unpacked to {folder}: the disk is full; free some space and run the same command again"
        ) from error
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def _extract(archive: Path, folder: Path) -> None:
    if archive.name.lower().endswith(".zip"):
        with zipfile.ZipFile(archive) as packed:
            inside = folder.resolve()
            _check_size(archive, folder, sum(info.file_size for info in packed.infolist()))
            for name in packed.namelist():
                if not (inside / name).resolve().is_relative_to(inside):
                    raise DownloadError(f"{archive} names a file outside of its folder ({name!r}); it is not unpacked")
            packed.extractall(folder)  # noqa: S202 (names are checked above)
    elif archive.name.lower().endswith(_TARS):
        with tarfile.open(archive) as packed_tar:
            total = 0
            for member in packed_tar:
                # Checked on the way: the list of a compressed archive is known only after its whole content.
                total += member.size
                _check_size(archive, folder, total)
            # The filter refuses absolute names, names with .., links that leave the folder, and devices.
            packed_tar.extractall(folder, filter="data")
    else:
        raise DownloadError(f"{archive} is no archive that can be unpacked here (.zip, .tar, .tar.gz)")


def _check_size(archive: Path, folder: Path, size: int) -> None:
    free, packed = free_bytes(folder), archive.stat().st_size
    if size > free:
        raise DownloadError(
            f"{archive} would take {size / 1e6:.1f} MB unpacked, and only {free / 1e6:.1f} MB are free; free some "
            "space, or choose a folder on another disk"
        )
    if size > SMALL and size > MOST_EXPANSION * packed:
        raise DownloadError(
            f"{archive} has {packed / 1e6:.1f} MB and would take {size / 1e6:.1f} MB unpacked: an archive of audio "
            "does not expand so much; check where it comes from, and unpack it yourself if you trust it"
        )


def _move_into(beside: Path, folder: Path) -> None:
    for here, folders, files in os.walk(beside):
        target = folder / Path(here).relative_to(beside)
        target.mkdir(parents=True, exist_ok=True)
        for name in [*files, *(f for f in folders if (Path(here) / f).is_symlink())]:
            (Path(here) / name).replace(target / name)

"""What can be had of a data set: its files, their sums as published, its licence and its size. Plain data."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Literal
from urllib.parse import unquote, urlsplit

from auricle.errors import ConfigError

SUMS = {"md5": 32, "sha1": 40, "sha256": 64}
Unpack = Literal["auto", "no"]


@dataclass(frozen=True)
class Archive:
    """One file of a data set.

    Attributes:
        url: where it is.
        sum: `md5:...`, `sha1:...` or `sha256:...` as the publisher (or a well-kept loader) gives it; "" if unknown.
        bytes: its size; None: what the server says.
        name: what it is called here; by default as in the URL.
        folder: sub-folder of the data set that it is put (and unpacked) in.
        unpack: `auto` unpacks .zip, .tar and .tar.gz; `no` leaves the file as it is (parts of a split archive).
    """

    url: str
    sum: str = ""
    bytes: int | None = None
    name: str = ""
    folder: str = ""
    unpack: Unpack = "auto"

    def __post_init__(self) -> None:
        if self.sum:
            kind, _, digits = self.sum.partition(":")
            if len(digits) != SUMS.get(kind) or not re.fullmatch("[0-9a-f]+", digits):
                raise ConfigError(f"{self.url}: {self.sum!r} is no sum; expected md5:, sha1: or sha256: and its digits")
        if urlsplit(self.url).scheme not in ("http", "https"):
            raise ConfigError(f"{self.url!r} is no address; expected http:// or https://")
        if not self.file or "/" in self.file or self.file in (".", "..") or ".." in PurePosixPath(self.folder).parts:
            raise ConfigError(f"{self.url!r} has no name of a file; give one")

    @property
    def file(self) -> str:
        """Its name here."""
        return self.name or unquote(PurePosixPath(urlsplit(self.url).path).name)


@dataclass(frozen=True)
class DataSet:
    """A published data set.

    Attributes:
        name: short name, as on the command line.
        title: what it is called.
        licence: of the recordings.
        citation: who made it.
        home: its page.
        size: in words (`6 GB`, `18.3 h`).
        layout: name of the layout that opens it; "" for tables and other parts.
        archives: its files; none: they have to be asked for, see `how`.
        how: what a user has to do besides (register, join split archives, gather recordings).
    """

    name: str
    title: str
    licence: str
    citation: str
    home: str
    size: str = ""
    layout: str = ""
    archives: tuple[Archive, ...] = ()
    how: str = ""


def zenodo(record: int, sums: dict[str, str], **kwargs: str) -> tuple[Archive, ...]:
    """Return the files of a Zenodo record.

    Args:
        record: its number.
        sums: file -> MD5 digits, or "" where unknown.
        kwargs: `folder` or `unpack` of all of them.
    """
    return tuple(
        Archive(
            f"https://zenodo.org/record/{record}/files/{file}?download=1",
            f"md5:{digits}" if digits else "",
            folder=kwargs.get("folder", ""),
            unpack="no" if kwargs.get("unpack") == "no" else "auto",
        )
        for file, digits in sums.items()
    )

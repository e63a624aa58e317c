"""Published data sets as plain data: files with their published checksums, licence, size."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Literal
from urllib.parse import unquote, urlsplit

from auricle.errors import ConfigError

LAYOUT = "layout:"  # before the name of a data set's folder layout, where a corpus is named
SUMS = {"md5": 32, "sha1": 40, "sha256": 64}
Unpack = Literal["auto", "no"]


@dataclass(frozen=True)
class Archive:
    """One file of a data set.

    Attributes:
        url: address.
        sum: `md5:...`, `sha1:...` or `sha256:...` from the publisher (or a well-kept loader); "" if unknown.
        bytes: size; None: ask the server.
        name: local name; by default that of the URL.
        folder: sub-folder of the data set for the file and its content.
        unpack: `auto` unpacks .zip, .tar and .tar.gz; `no` keeps the file as it is (parts of a split archive).
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
                raise ConfigError(
                    f"{self.url}: {self.sum!r} is no checksum; expected md5:, sha1: or sha256: and digits"
                )
        if urlsplit(self.url).scheme not in ("http", "https"):
            raise ConfigError(f"{self.url!r} is no address; expected http:// or https://")
        if not self.file or "/" in self.file or self.file in (".", "..") or ".." in PurePosixPath(self.folder).parts:
            raise ConfigError(f"{self.url!r} has no file name; set name")

    @property
    def file(self) -> str:
        """Local name."""
        return self.name or unquote(PurePosixPath(urlsplit(self.url).path).name)


@dataclass(frozen=True)
class DataSet:
    """A published data set.

    Attributes:
        name: short name, as on the command line.
        title: full name.
        licence: of the recordings.
        citation: publication.
        home: web page.
        size: in words (`6 GB`, `18.3 h`).
        layout: name of its layout; "" for tables and other parts.
        archives: files; none: only on request, see `how`.
        how: further steps for the user (register, join split archives, gather recordings).
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
        record: number of the record.
        sums: file -> MD5 digits, or "" if unknown.
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

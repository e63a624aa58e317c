"""Download of one file: continues after an interruption, checks size and checksum, keeps all received data."""

from __future__ import annotations

import hashlib
import http.client
import json
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from auricle.corpus.published.archive import Archive
from auricle.errors import DownloadError, StorageError
from auricle.storage import FULL
from auricle.words import counted

CHUNK = 1 << 20
_AGENT = {"User-Agent": "auricle", "Accept-Encoding": "identity"}


@dataclass(frozen=True)
class Patience:
    """Waiting times and retries.

    Attributes:
        tries: attempts without any new byte before giving up.
        wait: seconds before the second attempt; doubled each time, at most a minute.
        timeout: seconds without an answer that count as a broken connection.
    """

    tries: int = 5
    wait: float = 1.0
    timeout: float = 60.0


def remote_size(archive: Archive, patience: Patience | None = None) -> int | None:
    """Return a file's size from the server, or None if it reports none.

    Raises:
        DownloadError: the server can't be reached.
    """
    if archive.bytes is not None:
        return archive.bytes
    request = urllib.request.Request(archive.url, headers=_AGENT, method="HEAD")  # noqa: S310 (Archive checks schemes)
    try:
        with urllib.request.urlopen(request, timeout=(patience or Patience()).timeout) as answer:  # noqa: S310
            return _number(answer.headers.get("Content-Length"))
    except urllib.error.HTTPError:
        return None  # some servers refuse requests for the size alone
    except urllib.error.URLError as error:
        raise DownloadError(
            f"{archive.url}: the server can't be reached ({error.reason}); check the network, or try again later"
        ) from error
    except (OSError, http.client.HTTPException):
        return None


def fetch(
    archive: Archive,
    path: Path,
    *,
    patience: Patience | None = None,
    progress: Callable[[int, int | None], None] | None = None,
) -> Path:
    """Download a file to `path`; partial data is kept in `path` + `.part` and continued.

    A finished file is only checked. A file with a wrong checksum is renamed to `path` + `.wrong`.

    Args:
        archive: the file.
        path: target.
        patience: waiting times and retries.
        progress: called with the received and the total bytes (or None) during the download.

    Returns:
        The path.

    Raises:
        DownloadError: the server refuses, the connection breaks again and again, or size or checksum are wrong.
        StorageError: the disk is full, or the folder is not writable.
    """
    progress = progress or (lambda here, whole: None)
    if path.is_file():
        _check_sum(archive, path, path)
        progress(path.stat().st_size, path.stat().st_size)
        return path
    part = path.with_name(path.name + ".part")
    about = path.with_name(path.name + ".part.json")
    try:
        part.parent.mkdir(parents=True, exist_ok=True)
        whole = _gather(archive, part, about, patience or Patience(), progress)
        _check_size(archive, part, whole)
        _check_sum(archive, part, path)
        part.replace(path)
        about.unlink(missing_ok=True)
    except OSError as error:
        why = "the disk is full" if error.errno in FULL else error.strerror or str(error)
        raise StorageError(
            f"{path} can't be written: {why}; free some space, or download elsewhere. Received data is kept in "
            f"{part.name} and continued"
        ) from error
    return path


def _gather(
    archive: Archive, part: Path, about: Path, patience: Patience, progress: Callable[[int, int | None], None]
) -> int | None:
    """Complete the partial file; return the whole size, or None if the server reports none."""
    failures, why = 0, ""
    whole: int | None = archive.bytes
    while failures < patience.tries:
        if failures:
            time.sleep(min(patience.wait * 2 ** (failures - 1), 60.0))
        before = part.stat().st_size if part.is_file() else 0
        if whole is not None and before == whole:
            return whole
        try:
            whole, done = _once(archive, part, about, patience, progress)
            if done:
                return whole
            why = "the connection ended early"
        except urllib.error.HTTPError as error:
            if error.code not in (408, 429, 500, 502, 503, 504):
                raise DownloadError(
                    f"{archive.url}: the server answers {error.code} ({error.reason}); the file may have moved: "
                    "check the data set's page, and report it"
                ) from error
            why = f"the server answers {error.code} ({error.reason})"
        except (urllib.error.URLError, http.client.HTTPException, ssl.SSLError, TimeoutError, ConnectionError) as error:
            why = str(getattr(error, "reason", error)) or type(error).__name__
        now = part.stat().st_size if part.is_file() else 0
        failures = failures + 1 if now <= before else 1
    have = part.stat().st_size if part.is_file() else 0
    raise DownloadError(
        f"{archive.url} broke off {patience.tries} times in a row with {_bytes(have)} of {_bytes(whole)} here: {why}. "
        f"Received data is kept in {part}; the same command continues"
    )


def _once(
    archive: Archive, part: Path, about: Path, patience: Patience, progress: Callable[[int, int | None], None]
) -> tuple[int | None, bool]:
    """Make one request; return the whole size if the server reports it, and whether the file is complete."""
    have = part.stat().st_size if part.is_file() else 0
    version = _read_version(about) if have else ""
    headers = dict(_AGENT)
    if have:
        headers["Range"] = f"bytes={have}-"
        if version:
            # The part must not be continued with another version of the file: the server then sends all of it.
            headers["If-Range"] = version
    request = urllib.request.Request(archive.url, headers=headers)  # noqa: S310 (Archive checks schemes)
    try:
        answer = urllib.request.urlopen(request, timeout=patience.timeout)  # noqa: S310
    except urllib.error.HTTPError as error:
        if error.code != 416 or not have:
            raise
        whole = _number((error.headers.get("Content-Range") or "").rpartition("/")[2])
        if whole == have:
            return whole, True
        part.unlink()  # longer than the file: part of another version
        return whole, False
    with answer:
        goes_on = answer.status == 206
        if not goes_on:
            have = 0
        length = _number(answer.headers.get("Content-Length"))
        whole = None if length is None else have + length
        found = answer.headers.get("ETag") or answer.headers.get("Last-Modified") or ""
        # A weak tag does not guarantee equal bytes, so it is not used with If-Range.
        about.write_text(json.dumps({"version": "" if found.startswith("W/") else found}), encoding="utf-8")
        with part.open("ab" if goes_on else "wb") as f:
            have = _copy(answer, f, have, whole, progress)
    return whole, whole is None or have == whole


def _copy(
    answer: http.client.HTTPResponse,
    f: IO[bytes],
    have: int,
    whole: int | None,
    progress: Callable[[int, int | None], None],
) -> int:
    progress(have, whole)
    while True:
        try:
            data = answer.read(CHUNK)
        except http.client.IncompleteRead as error:
            f.write(error.partial)
            raise
        if not data:
            return have
        f.write(data)
        have += len(data)
        progress(have, whole)


def _check_size(archive: Archive, part: Path, whole: int | None) -> None:
    size = part.stat().st_size
    expected = archive.bytes if archive.bytes is not None else whole
    if expected is not None and size != expected:
        kept = _keep_wrong(part, part.with_suffix(""))
        raise DownloadError(
            f"{archive.url}: {size} bytes arrived, expected {expected}; the file is kept as {kept}. Download it "
            "again; if that does not help, the publisher has changed it: report it"
        )


def _check_sum(archive: Archive, file: Path, path: Path) -> None:
    if not archive.sum:
        return
    kind, _, expected = archive.sum.partition(":")
    found = file_sum(file, kind)
    if found != expected:
        kept = _keep_wrong(file, path)
        raise DownloadError(
            f"{archive.url}: its {kind} sum is {found}, expected {expected}; the file is kept as {kept}. "
            "Download it again; if that does not help, the publisher has changed it: report it"
        )


def file_sum(path: Path, kind: str) -> str:
    """Return a file's checksum (`md5`, `sha1`, `sha256`) in hexadecimal digits."""
    with path.open("rb") as f:
        return hashlib.file_digest(f, lambda: hashlib.new(kind, usedforsecurity=False)).hexdigest()


def _keep_wrong(file: Path, path: Path) -> Path:
    kept = path.with_name(path.name + ".wrong")
    file.replace(kept)
    path.with_name(path.name + ".part.json").unlink(missing_ok=True)
    return kept


def _read_version(about: Path) -> str:
    try:
        return str(json.loads(about.read_text(encoding="utf-8")).get("version", ""))
    except (OSError, ValueError, AttributeError):
        return ""


def _number(text: str | None) -> int | None:
    return int(text) if text is not None and text.isdigit() else None


def _bytes(count: int | None) -> str:
    return "an unknown number of bytes" if count is None else counted(count, "byte")

"""Download of published data sets: shows licence and sizes, asks, fetches, checks, unpacks."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn
from rich.table import Table

from auricle.config import nearest
from auricle.corpus.published.archive import Archive, DataSet
from auricle.corpus.published.data_sets import DATA_SETS
from auricle.corpus.published.fetching import Patience, fetch, remote_size
from auricle.corpus.published.unpacking import can_unpack, unpack
from auricle.errors import DownloadError, StorageError
from auricle.storage import free_bytes, write_json

JOURNAL = ".auricle-download.json"


def get_data_set(name: str) -> DataSet:
    """Return a data set by name.

    Raises:
        DownloadError: the name is unknown.
    """
    if name not in DATA_SETS:
        raise DownloadError(f"no data set is called {name!r}{nearest(name, DATA_SETS)}")
    return DATA_SETS[name]


def download(
    data: str | DataSet,
    folder: Path | str,
    *,
    yes: bool = False,
    ask: Callable[[str], bool] | None = None,
    unpacked: bool = True,
    patience: Patience | None = None,
    console: Console | None = None,
) -> Path:
    """Download a data set and unpack it.

    Shows title, licence, citation, and the sizes of all and of missing files, and asks before the download. The same
    call continues after an interruption; finished files are not fetched again.

    Args:
        data: a data set, or its name.
        folder: target, made if missing.
        yes: do not ask.
        ask: asks a question and returns whether the answer is yes; by default on the terminal.
        unpacked: unpack .zip and .tar archives (and keep them).
        patience: waiting times and retries.
        console: for messages; by default standard error.

    Returns:
        The folder.

    Raises:
        DownloadError: the data set is only available on request, the answer is no, a server refuses or disconnects, a
            size or checksum is wrong, or an archive is damaged.
        StorageError: there is not enough space.
    """
    data = get_data_set(data) if isinstance(data, str) else data
    folder = Path(folder)
    console = console or Console(stderr=True)
    if not data.archives:
        raise DownloadError(f"{data.title} can't be downloaded by auricle: {data.how or 'ask for it'} ({data.home})")
    done = _read_journal(folder)
    todo = [archive for archive in data.archives if done.get(_path_of(archive)) != _mark(archive, unpacked)]
    sizes = {archive: remote_size(archive, patience) for archive in todo if not _target(folder, archive).is_file()}
    _show(console, data, folder, done, sizes, unpacked)
    if todo:
        _require_space(folder, sizes)
        question = f"Download {data.title} to {folder}?"
        if not yes and not (ask or _ask)(question):
            raise DownloadError(f"{data.title} was not downloaded: the question was not answered with yes (--yes)")
        for archive in todo:
            _get(archive, folder, unpacked, patience, console)
            done[_path_of(archive)] = _mark(archive, unpacked)
            write_json(folder / JOURNAL, done)
    console.print(f"{data.title} is in {folder}{': ' + data.how if data.how else ''}")
    return folder


def _get(archive: Archive, folder: Path, unpacked: bool, patience: Patience | None, console: Console) -> None:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    path = _target(folder, archive)
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(archive.file, total=None)
        fetch(
            archive, path, patience=patience, progress=lambda here, whole: bar.update(task, completed=here, total=whole)
        )
    if unpacked and archive.unpack == "auto" and can_unpack(archive.file):
        console.print(f"unpacking {archive.file}")
        unpack(path, folder / archive.folder)


def _show(
    console: Console,
    data: DataSet,
    folder: Path,
    done: dict[str, str],
    sizes: dict[Archive, int | None],
    unpacked: bool,
) -> None:
    console.print(f"[bold]{data.title}[/] ({data.size or 'size unknown'}), {data.home}")
    console.print(f"licence: {data.licence}\ncite: {data.citation}", highlight=False)
    table = Table("file", "size", "sum", "here")
    for archive in data.archives:
        path = _target(folder, archive)
        if done.get(_path_of(archive)) == _mark(archive, unpacked):
            state, size = "complete", path.stat().st_size if path.is_file() else None
        elif path.is_file():
            state, size = "fetched", path.stat().st_size
        else:
            part = path.with_name(path.name + ".part")
            state = f"{in_units(part.stat().st_size)} of it" if part.is_file() else ""
            size = sizes.get(archive)
        known = archive.sum.partition(":")[0] or "[yellow]unknown: only the size can be checked[/]"
        table.add_row(archive.file, in_units(size), known, state)
    console.print(table)
    missing = _missing(folder, sizes)
    unsaid = sum(size is None for size in sizes.values())
    files = "1 file whose size" if unsaid == 1 else f"{unsaid} files whose sizes"
    more = f", and {files} the server does not report" if unsaid else ""
    console.print(f"to download: {in_units(missing)}{more}; unpacked it takes about as much again")


def _missing(folder: Path, sizes: dict[Archive, int | None]) -> int:
    """Return the bytes that are still missing."""
    total = 0
    for archive, size in sizes.items():
        part = _target(folder, archive).with_name(archive.file + ".part")
        here = part.stat().st_size if part.is_file() else 0
        total += max(0, (size or 0) - here)
    return total


def _require_space(folder: Path, sizes: dict[Archive, int | None]) -> None:
    free, missing = free_bytes(folder), _missing(folder, sizes)
    if missing > free:
        raise StorageError(
            f"{in_units(missing)} are to be downloaded, but the disk of {folder} has {in_units(free)} free; free some "
            "space, or choose another folder"
        )


def in_units(count: int | None) -> str:
    """Return bytes in words: `1.2 GB`."""
    if count is None:
        return "?"
    value = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} TB"


def _ask(question: str) -> bool:
    try:
        return input(f"{question} [y/N] ").strip().lower() in ("y", "yes")
    except EOFError:
        return False


def _target(folder: Path, archive: Archive) -> Path:
    return folder / archive.folder / archive.file


def _path_of(archive: Archive) -> str:
    return f"{archive.folder}/{archive.file}" if archive.folder else archive.file


def _mark(archive: Archive, unpacked: bool) -> str:
    """Return the journal entry of a finished file; it changes with the checksum, the address and unpacking."""
    return f"{archive.url} {archive.sum} {'unpacked' if unpacked else 'fetched'}"


def _read_journal(folder: Path) -> dict[str, str]:
    try:
        held = json.loads((folder / JOURNAL).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return {str(k): str(v) for k, v in held.items()} if isinstance(held, dict) else {}


def render_data_sets() -> Table:
    """Return a table of all known data sets for a terminal: name, title, size, licence, how to get it."""
    table = Table(title="data sets", title_justify="left")
    for column in ("data set", "title", "size", "licence", "layout", "how to get it"):
        table.add_column(column, overflow="fold")
    for data in DATA_SETS.values():
        how = f"auricle data download {data.name}" if data.archives else data.how
        table.add_row(data.name, data.title, data.size or "?", data.licence, data.layout or "-", how)
    return table

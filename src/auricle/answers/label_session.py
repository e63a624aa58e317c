"""The verb `label`: open a library, serve its page, write what was labelled."""

from __future__ import annotations

import math
import secrets
import webbrowser
from collections.abc import Sequence
from pathlib import Path

from auricle.answers.label_export import export, is_export
from auricle.answers.label_log import NAME, LabelLog
from auricle.answers.label_server import LabelApp, bound, server_of
from auricle.answers.label_view import LabelView
from auricle.answers.labelling import Labelling
from auricle.answers.library import Library, check_made_by
from auricle.answers.spaces import open_space
from auricle.encoders.features import FeaturesConfig
from auricle.errors import ConfigError
from auricle.models.opening import Model
from auricle.training.lock import RunLock
from auricle.words import counted


def label(
    library: str | Path,
    *,
    labels: str | Path | None = None,
    classes: Sequence[str] = (),
    first: Sequence[int] = (),
    port: int = 0,
    model: str | Path | Model | None = None,
    context: float = 2.0,
    out: str | Path | None = None,
    open_browser: bool = False,
) -> Labelling:
    """Serve a page on this machine, on which a person labels segments of a library; return when it is interrupted.

    Args:
        library: folder that `auricle.index` made.
        labels: file of the labels, read and continued; None: `labels.jsonl` in the library.
        classes: what to label, at most nine names; those of the file are there anyway.
        first: ids of rows to label first, as `auricle.search` lists them.
        port: of the page; 0: any that is free.
        model: that the library must have been made by, or what `load` opens; None: not checked.
        context: seconds shown and played before and after a segment.
        out: folder that the page's export writes, new or an earlier export; None: `labels` in the library.
        open_browser: open the page in the default browser.

    Returns:
        The labelling as it is at the end.

    Raises:
        ConfigError: a class is missing or odd, there is no such row, or the port is in use.
        CheckpointError: another process serves these labels.
        CorpusError: the library was made by another model.
        StorageError: there is no library, or it or the labels can't be read or written.
        MissingExtraError: starlette, uvicorn or LanceDB is not installed.

    Examples:
        >>> import auricle
        >>> auricle.label("library", classes=["owl"])  # doctest: +SKIP
    """
    if not (math.isfinite(context) and 0 <= context <= 60):
        raise ConfigError(f"context is {context} s; expected 0 to 60")
    opened = Library.open(library)
    file = opened.folder / NAME if labels is None else Path(labels)
    if model is not None:
        record = opened.record
        features = FeaturesConfig.from_json(record.features)
        space = open_space(model, record.space, precision=record.precision, features=features)
        check_made_by(record, opened.folder, space.fingerprint, space.name)
    remedy = "Use its page, stop it, or name another file with --labels"
    with RunLock(file.with_name(f".{file.name}.open"), "labels that another process serves", remedy):
        labelling = Labelling(opened, LabelLog.open(file), classes, first)
        folder = opened.folder / "labels" if out is None else Path(out)
        is_export(folder)  # before hours of labelling
        token = secrets.token_urlsafe(24)
        app = LabelApp(LabelView(labelling, context, lambda: export(labelling, folder)), token)
        with bound(port) as listening:
            address = f"http://127.0.0.1:{listening.getsockname()[1]}/{token}/"
            known = counted(len(labelling.log.labels), "label")
            print(f"{counted(len(opened), 'segment')}, {known} in {file}", flush=True)
            for note in labelling.notes:
                print(f"note: {note}", flush=True)
            print(f"Label at {address}\nCtrl-C ends; every label is saved at once.", flush=True)
            # What is known already is ranked from the start.
            labelling.fit()
            if open_browser:
                webbrowser.open(address)
            try:
                server_of(app).run(sockets=[listening])
            except KeyboardInterrupt:
                print()
    print(f"{counted(len(labelling.log.labels), 'label')} in {file}")
    return labelling

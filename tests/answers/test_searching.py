"""Searches by sound, by row and by text; tables and pages of hits."""

from __future__ import annotations

import csv
import html
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile
import torch
from toy_library import RATE, Bands, write_recordings, write_tone

import auricle
from auricle.answers.library import Library
from auricle.answers.prediction_table import read_predictions
from auricle.audio.frontends.kaldi_fbank import KaldiFbankConfig
from auricle.cli import main
from auricle.encoders.frozen import FrozenEncoder
from auricle.encoders.slice_cnn import SliceCNNConfig
from auricle.encoders.spectrogram_transformer import SpectrogramTransformerConfig
from auricle.errors import AudioError, AuricleError, CheckpointError, ConfigError, CorpusError, Reason
from auricle.models.opening import Model
from auricle.recipes import get_recipe

MODEL = "toy_library:Bands"


@pytest.fixture
def library(tmp_path: Path) -> Path:
    recordings = write_recordings(tmp_path / "recordings")
    auricle.index(MODEL, recordings, tmp_path / "library", segment=1.0, hop=0.5, progress=False)
    return tmp_path / "library"


def files(found: object) -> list[str]:
    return found.rows.column("file").to_pylist()  # type: ignore[attr-defined]


def test_a_part_of_a_sound_finds_what_sounds_like_it(library: Path, tmp_path: Path) -> None:
    time = np.arange(2 * RATE) / RATE
    wave = np.where(time < 1, np.sin(2 * np.pi * 300 * time), np.sin(2 * np.pi * 3000 * time)) * 0.3
    soundfile.write(tmp_path / "both.wav", wave.astype(np.float32), RATE)
    sound = tmp_path / "both.wav"
    assert files(auricle.search(library, sound=sound, to=1.0, top=6)) == ["low.wav"] * 6
    found = auricle.search(library, sound=sound, from_=1.0, to=2.0, top=4)
    assert files(found) == ["birds/high.wav"] * 4
    assert (found.query, found.exact, found.how) == ("both", True, "exact: all 18 rows were compared")
    assert found.rows.column("label").to_pylist() == ["both"] * 4
    opened = Library.open(library)
    vectors = opened.vectors().astype(np.float64)
    wanted = Bands()(np.asarray(auricle.open_corpus(sound).audio(0, RATE, start=1.0))).double().numpy()
    cosine = vectors @ wanted / np.linalg.norm(vectors, axis=1) / np.linalg.norm(wanted)
    np.testing.assert_allclose(found.rows.column("score").to_numpy(), np.sort(cosine)[::-1][:4], atol=1e-5)
    short = auricle.search(library, sound=sound, to=0.3, top=1)
    assert "the sound lasts 0.3 s, and the segments of the library 1 s" in short.notes[0]


def test_a_row_finds_others_and_not_itself(library: Path) -> None:
    rows = Library.open(library).rows()
    row = rows.filter(np.array([f == "mid.wav" for f in rows.column("file").to_pylist()])).to_pylist()[2]
    found = auricle.search(library, row=row["id"], top=18).rows.to_pylist()
    # It overlaps those before and after it.
    own = [hit for hit in found if hit["file"] == "mid.wav"]
    assert [hit["start"] for hit in sorted(own, key=lambda hit: hit["start"])] == [0.0, 2.0, 2.5]
    assert len(found) == 15


def test_of_overlapping_segments_the_best_is_kept(library: Path) -> None:
    rows = Library.open(library).rows()
    low = rows.filter(np.array([f == "low.wav" for f in rows.column("file").to_pylist()]))
    found = auricle.search(library, row=low.column("id")[0].as_py(), top=50, apart=True).rows.to_pylist()
    every = auricle.search(library, row=low.column("id")[0].as_py(), top=50).rows.to_pylist()
    kept: list[dict[str, object]] = []
    for hit in every:  # the rule, as a slow loop
        if not any(o["file"] == hit["file"] and o["start"] < hit["end"] and hit["start"] < o["end"] for o in kept):
            kept.append(hit)
    assert found == kept
    assert len(found) < len(every)
    assert auricle.search(library, row=0, top=2, apart=True).rows.num_rows == 2


def test_tables_of_hits_are_tables_of_predictions(library: Path, tmp_path: Path) -> None:
    for ending in (".csv", ".parquet", ".jsonl"):
        out = tmp_path / f"hits{ending}"
        found = auricle.search(library, row=3, top=5, label="call", out=out)
        table = read_predictions(out)
        assert table.column("file").to_pylist() == files(found)
        assert table.column("label").to_pylist() == ["call"] * 5
        np.testing.assert_allclose(table.column("score").to_numpy(), found.rows.column("score").to_numpy())
    with (tmp_path / "hits.csv").open(newline="") as file:
        assert next(csv.reader(file)) == ["file", "start", "end", "label", "score", "id", "known"]
    assert pq.read_table(tmp_path / "hits.parquet").column("id").to_pylist() == found.rows.column("id").to_pylist()
    auricle.search(library, row=3, top=5, out=tmp_path / "hits.raven")
    assert list((tmp_path / "hits.raven").rglob("*.selections.txt"))


@pytest.mark.parametrize(
    ("settings", "error", "said"),
    [
        ({}, ConfigError, "expected one of --sound, --text and --row"),
        ({"row": 1, "text": "owl"}, ConfigError, "expected one of --sound, --text and --row"),
        ({"row": 1, "to": 2.0}, ConfigError, "--from and --to are times in --sound"),
        ({"row": 99}, ConfigError, "has no row 99"),
        ({"row": 1, "top": 0}, ConfigError, "top is 0"),
        ({"row": 1, "out": "hits.xls"}, ConfigError, r"hits.xls ends in '.xls'"),
        ({"sound": "none.wav"}, ConfigError, r"there is no recording none\.wav"),
        ({"sound": "SOUND", "from_": 2.0, "to": 1.0}, ConfigError, "from 2 s to 1 s is no part of a sound"),
        ({"sound": "SOUND", "from_": 50.0}, AudioError, "50"),
        ({"sound": "SOUND", "model": "toy_library:OtherBands"}, CorpusError, "was made by toy_library:Bands"),
        ({"sound": "SOUND", "model": "nowhere"}, CheckpointError, "nowhere"),
        ({"text": "an owl"}, ConfigError, "which have no texts; .* --space text .* clap"),
    ],
)
def test_what_can_not_be_searched_is_said(
    library: Path, tmp_path: Path, settings: dict[str, object], error: type[AuricleError], said: str
) -> None:
    named = {name: tmp_path / "recordings" / "low.wav" if v == "SOUND" else v for name, v in settings.items()}
    with pytest.raises(error, match=said):
        auricle.search(library, **named)  # type: ignore[arg-type]


def test_a_part_that_is_too_short_for_the_model_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recordings = write_recordings(tmp_path / "recordings")
    config = SpectrogramTransformerConfig(width=16, depth=1, heads=2, mels=32, frames=64)
    built = config.build(torch.Generator().manual_seed(0))
    frozen = FrozenEncoder(KaldiFbankConfig(mels=32).build(), built, name="toy")
    short = Reason("shorter than the encoder needs", "too short")
    monkeypatch.setattr(FrozenEncoder, "shortfall", lambda self, samples: short if samples < 2000 else None)
    model = Model(frozen, None, tmp_path)
    auricle.index(model, recordings, tmp_path / "library", segment=1.0, progress=False)
    sound = recordings / "low.wav"
    with pytest.raises(AudioError, match=r"low\.wav: shorter than the encoder needs.* expected a longer part"):
        auricle.search(tmp_path / "library", sound=sound, to=0.02, model=model)
    # The model was an object, and has no name by which it could be opened.
    with pytest.raises(ConfigError, match="does not say where its model toy is"):
        auricle.search(tmp_path / "library", sound=sound)
    assert len(auricle.search(tmp_path / "library", sound=sound, to=0.5, model=model, top=3)) == 3


def test_a_text_finds_what_its_vector_is_nearest_to(tmp_path: Path) -> None:
    recordings = write_recordings(tmp_path / "recordings")
    lines = [f"{name},a {name.partition('.')[0]} tone" for name in ("low.wav", "mid.wav", "birds/high.wav")]
    (recordings / "metadata.csv").write_text("\n".join(["file,caption", *lines]) + "\n")
    recipe = get_recipe("clap", "tiny")
    text = recipe.objective.text.replace(width=16, depth=1, words=64)
    run = auricle.pretrain(
        recipe.replace(
            encoder=SliceCNNConfig(channels=(4, 8, 8)),
            objective=recipe.objective.replace(text=text, dim=8),
            loader=recipe.loader.replace(batch=3, workers=0),
            train=recipe.train.replace(steps=2, warmup_steps=0, threads=1, device="cpu", precision="fp32"),
        ),
        recordings,
        tmp_path / "clap",
        progress=False,
    )
    library = tmp_path / "library"
    auricle.index(run, recordings, library, segment=1.0, space="text", device="cpu", progress=False)
    opened = Library.open(library)
    assert (opened.record.space, opened.record.width) == ("text", 8)
    from auricle.evaluation.audio_text.model import open_audio_text

    towers = open_audio_text(run, device="cpu")
    found = auricle.search(library, text="a mid tone", top=12, device="cpu")
    cosine = opened.vectors().astype(np.float64) @ towers.texts(["a mid tone"])[0]
    assert found.rows.column("id").to_pylist() == np.argsort(-cosine, kind="stable").tolist()
    np.testing.assert_allclose(found.rows.column("score").to_numpy(), np.sort(cosine)[::-1], atol=2e-3)
    assert found.rows.column("label").to_pylist() == ["a mid tone"] * 12
    assert "unknown to the text tower" in auricle.search(library, text="a xylophone tone", device="cpu").notes[0]
    with pytest.raises(ConfigError, match="no word of 'xylophone' is known"):
        auricle.search(library, text="xylophone", device="cpu")
    # A sound is placed in the same space; a library of clip vectors is none of it.
    assert len(auricle.search(library, sound=recordings / "low.wav", top=3, device="cpu")) == 3
    with pytest.raises(CheckpointError, match="has no text tower"):
        auricle.index(MODEL, recordings, tmp_path / "other", space="text", progress=False)


class Elements(HTMLParser):
    """Counts elements, and keeps texts and sources."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.sources: list[str] = []
        self.texts = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.sources += [value or "" for name, value in attrs if name in ("src", "href")]

    def handle_data(self, data: str) -> None:
        self.texts += data


def test_hostile_names_and_labels_are_text_in_page_and_table(tmp_path: Path) -> None:
    recordings = tmp_path / "recordings"
    name = "<img src=x onerror=alert(1)>'\".wav"
    write_tone(recordings / name, 400.0, seconds=1.0)
    write_tone(recordings / "=1+1.wav", 500.0, seconds=1.0)
    with (recordings / "metadata.csv").open("w", newline="") as file:
        csv.writer(file).writerows(
            [("file", "label"), (name, "</script><script>alert(2)</script>"), ("=1+1.wav", '"><b onload=alert(3)>')]
        )
    library, page = tmp_path / "library", tmp_path / "hits.html"
    auricle.index(MODEL, recordings, library, progress=False)
    text = "<script>alert(4)</script>"
    auricle.search(library, sound=recordings / name, label=text, out=tmp_path / "hits.csv", page=page)
    written = page.read_text()
    plain = Elements(written)
    assert plain.tags.count("script") == 1
    assert "b" in plain.tags
    assert plain.tags.count("b") == 3
    assert plain.tags.count("img") == plain.tags.count("audio") == 3
    assert all(re.match(r"data:(image/png|audio/mpeg);base64,", source) for source in plain.sources)
    assert name in plain.texts
    assert "</script><script>alert(2)</script>" in plain.texts
    assert "default-src 'none'" in html.unescape(written)
    lines = list(csv.reader((tmp_path / "hits.csv").open(newline="")))
    assert [line[0] for line in lines[1:]] == [name, "./=1+1.wav"]
    assert [line[3] for line in lines[1:]] == [text, text]


def test_a_recording_that_is_gone_is_said_on_the_page(library: Path, tmp_path: Path) -> None:
    (tmp_path / "recordings" / "low.wav").unlink()
    row = Library.open(library).rows()
    low = row.filter(np.array([f == "low.wav" for f in row.column("file").to_pylist()])).column("id")[0].as_py()
    auricle.search(library, row=low, page=tmp_path / "hits.html")
    assert "Not playable" in Elements((tmp_path / "hits.html").read_text()).texts


def test_index_and_search_on_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recordings, library = write_recordings(tmp_path / "recordings"), tmp_path / "library"
    words = ["index", MODEL, "--data", recordings, "--out", library, "--segment", 1, "--hop", 0.5]
    assert main([str(word) for word in words]) == 0
    assert f"18 rows added, 18 in all: {library}" in capsys.readouterr().out
    sound = ["--sound", recordings / "low.wav", "--from", 1, "--to", 2.5]
    files = ["--out", tmp_path / "hits.csv", "--page", tmp_path / "hits.html", "--top", 3]
    assert main([str(word) for word in ["search", library, *sound, *files]]) == 0
    shown = capsys.readouterr().out
    assert shown.count("low.wav") == 3
    assert "exact: all 18 rows were compared" in shown
    assert read_predictions(tmp_path / "hits.csv").column("label").to_pylist() == ["low"] * 3
    assert main(["search", str(tmp_path), "--row", "1"]) == 2
    assert "is no library" in capsys.readouterr().err

"""Layouts of music and notes, on small folders."""

from __future__ import annotations

import json
from pathlib import Path

import mido
import numpy as np
import pytest
import soundfile as sf
from layout_folders import columns, opened, put, text

from auricle.corpus.published.layouts.notes import midi_notes
from auricle.corpus.published.layouts.opening import recognise
from auricle.corpus.sources import open_corpus
from auricle.errors import CorpusError

GENRES = ("blues", "classical", "country", "disco", "hiphop", "jazz", "metal", "pop", "reggae", "rock")


def test_gtzan_with_and_without_the_filtered_division(tmp_path: Path) -> None:
    put(tmp_path, *(f"{genre}/{genre}.0000{i}.wav" for genre in GENRES for i in range(2)))
    corpus = opened(tmp_path, "gtzan")
    assert len(corpus) == 20
    assert corpus.classes == GENRES
    assert corpus.column("split") == [None] * 20
    text(tmp_path, "train_filtered.txt", "blues/blues.00000.wav")
    text(tmp_path, "valid_filtered.txt", "rock/rock.00000.wav")
    text(tmp_path, "test_filtered.txt", "pop/pop.00001.wav", "pop/pop.00000.wav")
    divided = columns(open_corpus(tmp_path), "split")
    assert divided["blues/blues.00000.wav"] == ("train",)
    assert divided["pop/pop.00001.wav"] == ("test",)
    assert divided["blues/blues.00001.wav"] == (None,)
    assert sum(split is not None for (split,) in divided.values()) == 4


def test_music_or_speech(tmp_path: Path) -> None:
    put(tmp_path, "music_wav/bagpipe.wav", "speech_wav/acomic.wav")
    assert columns(opened(tmp_path, "gtzan_music_speech"), "label") == {
        "music_wav/bagpipe.wav": ("music",),
        "speech_wav/acomic.wav": ("speech",),
    }


def test_nsynth(tmp_path: Path) -> None:
    note = {"instrument_family_str": "bass", "instrument_str": "bass_synthetic_033", "pitch": 22, "velocity": 25}
    for split in ("train", "valid", "test"):
        name = f"bass_synthetic_033-022-{split}"
        text(tmp_path, f"nsynth-{split}/examples.json", json.dumps({name: note}))
        put(tmp_path, f"nsynth-{split}/audio/{name}.wav")
    corpus = opened(tmp_path, "nsynth")
    assert columns(corpus, "label", "split", "pitch", "source")[
        "nsynth-train/audio/bass_synthetic_033-022-train.wav"
    ] == ("bass", "train", 22, "bass_synthetic_033")
    text(tmp_path, "nsynth-test/examples.json", '{"x": {"pitch": 1}}')
    with pytest.raises(CorpusError, match="unpack the archive nsynth-test again"):
        open_corpus(tmp_path)


def test_fma_small(tmp_path: Path) -> None:
    text(
        tmp_path,
        "fma_metadata/tracks.csv",
        ",artist,set,set,track",
        ",id,split,subset,genre_top",
        "track_id,,,,",
        "2,1,training,small,Hip-Hop",
        "140,4,validation,small,Folk",
        "3,1,training,medium,Rock",
    )
    put(tmp_path, "fma_small/000/000002.mp3", "fma_small/000/000140.mp3")
    assert columns(opened(tmp_path, "fma_small"), "label", "split", "source") == {
        "fma_small/000/000002.mp3": ("Hip-Hop", "train", "1"),
        "fma_small/000/000140.mp3": ("Folk", "valid", "4"),
    }


def test_strokes(tmp_path: Path) -> None:
    put(tmp_path / "m", "224030__akshaylaya__bheem-b-001.wav", "224031__akshaylaya__ta-csh-002.wav")
    assert columns(opened(tmp_path / "m", "mridangam"), "label", "tonic") == {
        "224030__akshaylaya__bheem-b-001.wav": ("bheem", "b"),
        "224031__akshaylaya__ta-csh-002.wav": ("ta", "csh"),
    }
    put(tmp_path / "b", "10577__user__bangu-1.wav")
    assert columns(opened(tmp_path / "b", "beijing_opera"), "label") == {"10577__user__bangu-1.wav": ("bangu",)}
    put(tmp_path / "m", "readme.wav")
    with pytest.raises(CorpusError, match=r"'readme\.wav' is no recording of the Mridangam Stroke set"):
        open_corpus(f"layout:mridangam:{tmp_path / 'm'}")


def test_vocalset(tmp_path: Path) -> None:
    text(tmp_path, "test_singers_technique.txt", "female2", "male3")
    text(tmp_path, "train_singers_technique.txt", "female1")
    put(tmp_path, "FULL/female1/scales/belt/f1_a.wav", "FULL/female2/arpeggios/vibrato/f2_a.wav")
    put(tmp_path, "FULL/male3/excerpts/fast_forte/m3_a.wav")
    assert columns(opened(tmp_path, "vocalset"), "label", "split", "singer") == {
        "FULL/female1/scales/belt/f1_a.wav": ("belt", "train", "female1"),
        "FULL/female2/arpeggios/vibrato/f2_a.wav": ("vibrato", "test", "female2"),
        "FULL/male3/excerpts/fast_forte/m3_a.wav": (None, "test", "male3"),
    }


def test_medley_solos(tmp_path: Path) -> None:
    uuid = "0a282672-c22c-59ff-faaa-ff9eb73fc8e6"
    text(
        tmp_path,
        "Medley-solos-DB_metadata.csv",
        "subset,instrument,instrument_id,song_id,uuid4",
        f"validation,clarinet,0,7,{uuid}",
    )
    file = f"Medley-solos-DB_validation-0_{uuid}.wav"
    put(tmp_path, file)
    assert columns(opened(tmp_path, "medley_solos_db"), "label", "split", "source") == {
        file: ("clarinet", "valid", "song-7")
    }


def test_tags(tmp_path: Path) -> None:
    mtt = tmp_path / "mtt"
    text(
        mtt,
        "annotations_final.csv",
        "clip_id\tsinger\tharp\tmp3_path",
        "2\t1\t0\t0/song-29-58.mp3",
        "6\t1\t1\tc/other_song-0-29.mp3",
        "7\t0\t0\tf/third-0-29.mp3",
    )
    put(mtt, "0/song-29-58.mp3", "c/other_song-0-29.mp3", "f/third-0-29.mp3")
    assert columns(opened(mtt, "magnatagatune"), "label", "split", "source") == {
        "0/song-29-58.mp3": ("singer", "train", "song"),
        "c/other_song-0-29.mp3": ("harp;singer", "valid", "other_song"),
        "f/third-0-29.mp3": (None, "test", "third"),
    }
    jamendo = tmp_path / "jamendo"
    head = "TRACK_ID\tARTIST_ID\tALBUM_ID\tPATH\tDURATION\tTAGS"
    for side, track in (("train", 948), ("validation", 949), ("test", 950)):
        line = f"track_{track}\tartist_{track}\talbum_1\t48/{track}.mp3\t212.7\tmood/theme---calm\tmood/theme---sad"
        text(jamendo, f"data/splits/split-0/autotagging_moodtheme-{side}.tsv", head, line)
        put(jamendo, f"48/{track}.low.mp3")
    assert columns(opened(jamendo, "mtg_jamendo_moodtheme"), "label", "split", "source") == {
        "48/948.low.mp3": ("calm;sad", "train", "artist_948"),
        "48/949.low.mp3": ("calm;sad", "valid", "artist_949"),
        "48/950.low.mp3": ("calm;sad", "test", "artist_950"),
    }


def test_moods_and_keys(tmp_path: Path) -> None:
    emo = tmp_path / "emo"
    text(
        emo,
        "annotations/static_annotations.csv",
        "song_id,mean_arousal,std_arousal,mean_valence,std_valence",
        "2,3.1,0.99,3,0.67",
        "4,5.5,1.2,6.25,0.5",
    )
    text(
        emo,
        "annotations/songs_info.csv",
        "song_id,file_name,Artist,Mediaeval 2013 set",
        "2,2.mp3,The New Mystikal Troubadours,development",
        "4,4.mp3,Someone,evaluation",
        "5,5.mp3,Unrated,evaluation",
    )
    put(emo, "clips_45sec/2.mp3", "clips_45sec/4.mp3")
    assert columns(opened(emo, "emomusic"), "split", "arousal", "valence") == {
        "clips_45sec/2.mp3": ("train", 3.1, 3.0),
        "clips_45sec/4.mp3": ("test", 5.5, 6.25),
    }
    keys = tmp_path / "keys"
    text(keys, "annotations/key/10089.LOFI.key", "D minor")
    put(keys, "audio/10089.LOFI.mp3")
    assert columns(opened(keys, "giantsteps_key"), "label", "source") == {"audio/10089.LOFI.mp3": ("D minor", "10089")}


def midi(path: Path, *messages: tuple[str, int, int, int]) -> None:
    """Messages (kind, number, value, ticks after the last one) at 480 ticks to the beat of 0.5 s."""
    track = mido.MidiTrack()
    for kind, number, value, ticks in messages:
        if kind == "pedal":
            track.append(mido.Message("control_change", control=64, value=value, time=ticks))
        else:
            track.append(mido.Message(kind, note=number, velocity=value, time=ticks))
    file = mido.MidiFile(ticks_per_beat=480)
    file.tracks.append(track)
    path.parent.mkdir(parents=True, exist_ok=True)
    file.save(path)


def test_notes_of_midi_files_sound_as_long_as_the_pedal_is_down(tmp_path: Path) -> None:
    path = tmp_path / "a.midi"
    midi(
        path,
        ("note_on", 60, 64, 0),  # 0.0 s
        ("note_off", 60, 0, 480),  # 0.5: released without pedal
        ("pedal", 0, 127, 0),
        ("note_on", 62, 64, 0),  # 0.5
        ("note_on", 62, 0, 240),  # 0.75: released (as a note of velocity 0), sounds on
        ("note_on", 64, 64, 0),  # 0.75: held over the pedal's end
        ("note_on", 62, 64, 240),  # 1.0: struck again, so the first one ends
        ("note_off", 62, 0, 240),  # 1.25: sounds on
        ("pedal", 0, 0, 480),  # 1.75: the pedal ends it
        ("note_off", 64, 0, 480),  # 2.25
    )
    assert midi_notes(path) == [
        (0.0, pytest.approx(0.5), 60),
        (pytest.approx(0.5), pytest.approx(1.0), 62),
        (pytest.approx(0.75), pytest.approx(2.25), 64),
        (pytest.approx(1.0), pytest.approx(1.75), 62),
    ]
    path.write_bytes(b"MThd no midi")
    with pytest.raises(CorpusError, match="is no readable MIDI file"):
        midi_notes(path)


def test_maestro(tmp_path: Path) -> None:
    text(
        tmp_path,
        "maestro-v3.0.0.csv",
        "canonical_composer,canonical_title,split,year,midi_filename,audio_filename,duration",
        "Alban Berg,Sonata Op. 1,validation,2018,2018/a.midi,2018/a.wav,1.0",
    )
    midi(
        tmp_path / "2018/a.midi",
        ("note_on", 60, 64, 0),
        ("note_off", 60, 0, 480),
        ("note_on", 10, 9, 0),
        ("note_off", 10, 0, 9),
    )
    put(tmp_path, "2018/a.wav", seconds=1)
    corpus = opened(tmp_path, "maestro")
    assert columns(corpus, "split", "source") == {"2018/a.wav": ("valid", "Alban Berg: Sonata Op. 1")}
    assert [(e.onset, e.offset, e.label) for e in corpus.events] == [(0.0, pytest.approx(0.5), "60")]


def test_surge(tmp_path: Path) -> None:
    put(tmp_path, "bass_one/60.ogg", "lead_two/60.ogg", "lead_two/61.ogg")
    assert columns(opened(tmp_path, "surge"), "label", "source", "pitch") == {
        "bass_one/60.ogg": ("60", "bass_one", 60),
        "lead_two/60.ogg": ("60", "lead_two", 60),
        "lead_two/61.ogg": ("61", "lead_two", 61),
    }


def test_gunshots_are_ranges_of_four_long_recordings(tmp_path: Path) -> None:
    begins = {"mic1raw": 15764451, "mic2raw16b": 13764742, "mic3raw": 9334032, "mic4raw": 6794611}
    shots = [0.5, 2.5, 3.5]
    for name, offset in begins.items():
        begin = offset / 48000 - 1
        wave = np.zeros(round((begin + 6) * 100), dtype=np.float32)
        for shot in shots:
            wave[round((begin + shot) * 100)] = 0.9
        sf.write(tmp_path / f"{name}.wav", wave, 100)
    corpus = open_corpus(f"layout:gunshots:{tmp_path}")
    assert recognise(tmp_path).name == "gunshots"
    assert len(corpus) == 12
    assert corpus.column("label") == ["mic1", "mic2", "mic3", "mic4"] * 3
    # The first firearm fires four shots: all three here are its.
    assert corpus.column("fold") == [1] * 12
    for clip in corpus:
        assert clip.seconds == 1.5
        begin = begins[Path(clip.file).stem] / 48000 - 1
        assert clip.start == pytest.approx(begin + shots[clip.extra["shot"]] - 0.125, abs=0.02)

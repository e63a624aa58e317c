"""Layouts of speech and vocal sounds, on small folders."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from layout_folders import columns, opened, put, text

from auricle.corpus.sources import open_corpus
from auricle.errors import CorpusError


def test_vocalsound(tmp_path: Path) -> None:
    for table, name in (("tr", "f0003_0_laughter.wav"), ("val", "m0004_0_cough.wav"), ("te", "f0005_1_sniff.wav")):
        text(tmp_path, f"datafiles/{table}.json", json.dumps({"data": [{"wav": f"/x/{name}", "labels": "/m/1"}]}))
        put(tmp_path, f"audio_16k/{name}")
    assert columns(opened(tmp_path, "vocalsound"), "label", "split", "source", "gender") == {
        "audio_16k/f0003_0_laughter.wav": ("laughter", "train", "f0003", "female"),
        "audio_16k/m0004_0_cough.wav": ("cough", "valid", "m0004", "male"),
        "audio_16k/f0005_1_sniff.wav": ("sniff", "test", "f0005", "female"),
    }
    text(tmp_path, "datafiles/te.json", "[]")
    with pytest.raises(CorpusError, match=r"te.json is no list of recordings"):
        open_corpus(tmp_path)


def test_vocal_imitation_libricount_coughvid(tmp_path: Path) -> None:
    first = tmp_path / "vi"
    text(
        first,
        "vocal_imitations.txt",
        "imitation_filename\treference_filename\tincluded\tparticipantID",
        "1.wav\tcat.wav\t1\tp1",
        "2.wav\tdog.wav\t0\tp1",
    )
    put(first, "vocal_imitations/included/1.wav", "vocal_imitations/excluded/2.wav")
    assert columns(opened(first, "vocal_imitation"), "label", "participant") == {
        "vocal_imitations/included/1.wav": ("cat.wav", "p1")
    }
    second = tmp_path / "lc"
    put(second, "test/0_1.wav", "test/10_2.wav")
    assert columns(opened(second, "libricount"), "label") == {"test/0_1.wav": ("0",), "test/10_2.wav": ("10",)}
    third = tmp_path / "cv"
    text(
        third,
        "metadata_compiled.csv",
        "uuid,cough_detected,status",
        "a,0.9,healthy",
        "b,0.5,healthy",
        "c,0.95,",
        "d,0.99,COVID-19",
    )
    put(third, "a.wav", "b.wav", "c.wav")
    corpus = opened(third, "coughvid")
    assert columns(corpus, "label") == {"a.wav": ("healthy",)}
    assert {e.cause: e.count for e in corpus.ledger.skipped("recording")}["missing or in another format"] == 1


def test_speech_commands(tmp_path: Path) -> None:
    files = ("yes/s1_nohash_0.wav", "yes/s2_nohash_0.wav", "bed/s3_nohash_1.wav", "yes/s4_nohash_0.wav")
    put(tmp_path, *files)
    put(tmp_path, "_background_noise_/running_tap.wav", "_background_noise_/pink_noise.wav", seconds=2.2)
    text(tmp_path, "validation_list.txt", files[1])
    text(tmp_path, "testing_list.txt", files[2])
    corpus = opened(tmp_path, "speech_commands")
    words = [c for c in corpus if c.labels]
    assert {c.file: (c.labels, c.split, c.source, c.extra["label12"]) for c in words} == {
        files[0]: (("yes",), "train", "s1", "yes"),
        files[1]: (("yes",), "valid", "s2", "yes"),
        files[2]: (("bed",), "test", "s3", "_unknown_"),
        files[3]: (("yes",), "train", "s4", "yes"),
    }
    silence = [c for c in corpus if not c.labels]
    assert {(c.file, c.split, c.start, c.seconds) for c in silence} == {
        (f"_background_noise_/{name}.wav", split, start, 1.0)
        for name, split in (("running_tap", "valid"), ("pink_noise", "train"))
        for start in (0.0, 0.5, 1.0)
    }
    assert {c.extra["label12"] for c in silence} == {"_silence_"}


def test_librispeech(tmp_path: Path) -> None:
    root = tmp_path / "LibriSpeech"
    text(
        root,
        "SPEAKERS.TXT",
        ";ID  |SEX| SUBSET",
        "103 | F | train-clean-100 | 25.1 | X",
        "1272 | M | dev-clean | 8 | Y",
    )
    text(root, "train-clean-100/103/1240/103-1240.trans.txt", "103-1240-0000 CHAPTER ONE", "103-1240-0001 THAT HAD")
    text(root, "dev-clean/1272/128104/1272-128104.trans.txt", "1272-128104-0000 MISTER QUILTER")
    for file in ("train-clean-100/103/1240/103-1240-0000", "train-clean-100/103/1240/103-1240-0001"):
        put(root, f"{file}.flac")
    put(root, "dev-clean/1272/128104/1272-128104-0000.flac")
    corpus = opened(root, "librispeech")
    assert columns(corpus, "split", "source", "transcript", "gender", "subset")[
        "train-clean-100/103/1240/103-1240-0001.flac"
    ] == ("train", "103", "THAT HAD", "female", "train-clean-100")
    assert columns(corpus, "split", "gender")["dev-clean/1272/128104/1272-128104-0000.flac"] == ("valid", "male")


def test_fluent_speech_commands(tmp_path: Path) -> None:
    for split, speaker in (("train", "a"), ("valid", "b"), ("test", "c")):
        text(
            tmp_path,
            f"data/{split}_data.csv",
            ",path,speakerId,transcription,action,object,location",
            f"0,wavs/speakers/{speaker}/1.wav,{speaker},Change language,change language,none,none",
        )
        put(tmp_path, f"wavs/speakers/{speaker}/1.wav")
    assert columns(opened(tmp_path, "fluent_speech_commands"), "label", "split", "source", "transcript") == {
        f"wavs/speakers/{s}/1.wav": ("change language|none|none", split, s, "Change language")
        for split, s in (("train", "a"), ("valid", "b"), ("test", "c"))
    }


def test_languages_and_speakers(tmp_path: Path) -> None:
    languages = tmp_path / "vl"
    put(languages, "et/abc__U__S1---0001.wav", "en/xyz__U__S1---0002.wav")
    assert columns(opened(languages, "vox_lingua"), "label", "source") == {
        "en/xyz__U__S1---0002.wav": ("en", "xyz"),
        "et/abc__U__S1---0001.wav": ("et", "abc"),
    }
    vox = tmp_path / "vox1"
    put(vox, "wav/id10001/v1/00001.wav", "wav/id10001/v2/00001.wav", "wav/id10270/v3/00001.wav")
    unsplit = opened(vox, "voxceleb1")
    assert unsplit.column("split") == [None, None, None]
    assert "iden_split.txt is not there" in unsplit.notes[1]
    text(
        vox,
        "iden_split.txt",
        "1 id10001/v1/00001.wav",
        "2 id10001/v2/00001.wav",
        "3 id10270/v3/00001.wav",
        "3 id10270/v4/00001.wav",
    )
    corpus = open_corpus(vox)
    assert columns(corpus, "label", "split", "source") == {
        "wav/id10001/v1/00001.wav": ("id10001", "train", "id10001/v1"),
        "wav/id10001/v2/00001.wav": ("id10001", "valid", "id10001/v2"),
        "wav/id10270/v3/00001.wav": ("id10270", "test", "id10270/v3"),
    }
    assert list(corpus.ledger.reasons()) == ["wav/id10270/v4/00001.wav"]
    text(vox, "iden_split.txt", "7 id10001/v1/00001.wav")
    with pytest.raises(CorpusError, match="expected lines such as `1 id10001"):
        open_corpus(vox)


def test_asvspoof2015(tmp_path: Path) -> None:
    text(tmp_path, "CM_protocol/cm_train.trn.txt", "T1 T1000001 human human", "T1 T1000002 S1 spoof")
    text(tmp_path, "CM_protocol/cm_develop.ndx.txt", "D1 D1000001 S2 spoof")
    text(tmp_path, "CM_protocol/cm_evaluation.ndx.txt", "E1 E1000001 S10 spoof")
    put(tmp_path, "wav/T1/T1000001.wav", "wav/T1/T1000002.wav", "wav/D1/D1000001.wav", "wav/E1/E1000001.wav")
    assert columns(opened(tmp_path, "asvspoof2015"), "label", "split", "source", "method") == {
        "wav/T1/T1000001.wav": ("human", "train", "T1", "human"),
        "wav/T1/T1000002.wav": ("spoof", "train", "T1", "S1"),
        "wav/D1/D1000001.wav": ("spoof", "valid", "D1", "S2"),
        "wav/E1/E1000001.wav": ("spoof", "test", "E1", "S10"),
    }


def test_emotions(tmp_path: Path) -> None:
    crema = tmp_path / "crema"
    put(crema, "AudioWAV/1001_DFA_ANG_XX.wav", "AudioWAV/1091_WSI_NEU_XX.wav")
    assert columns(opened(crema, "crema_d"), "label", "source") == {
        "AudioWAV/1001_DFA_ANG_XX.wav": ("anger", "1001"),
        "AudioWAV/1091_WSI_NEU_XX.wav": ("neutral", "1091"),
    }
    put(crema, "AudioWAV/1001_DFA_JOY_XX.wav")
    with pytest.raises(CorpusError, match="unknown emotion 'JOY'"):
        open_corpus(crema)
    ravdess = tmp_path / "ravdess"
    put(ravdess, "Actor_01/03-01-06-01-02-01-01.wav", "Actor_02/03-01-01-01-01-01-02.wav")
    assert columns(opened(ravdess, "ravdess"), "label", "source", "gender") == {
        "Actor_01/03-01-06-01-02-01-01.wav": ("fearful", "01", "male"),
        "Actor_02/03-01-01-01-01-01-02.wav": ("neutral", "02", "female"),
    }


def test_iemocap(tmp_path: Path) -> None:
    wav = "Session1/sentences/wav/Ses01F_impro01/Ses01F_impro01"
    text(
        tmp_path,
        "Session1/dialog/EmoEvaluation/Ses01F_impro01.txt",
        "% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]",
        "",
        "[6.2901 - 8.2357]\tSes01F_impro01_F000\tneu\t[2.5000, 2.5000, 2.5000]",
        "C-E2:\tNeutral;\t()",
        "",
        "[10.0100 - 11.3925]\tSes01F_impro01_M001\texc\t[2.5000, 2.5000, 2.5000]",
        "[12.0100 - 13.3925]\tSes01F_impro01_F002\txxx\t[2.5000, 2.5000, 2.5000]",
    )
    put(tmp_path, f"{wav}_F000.wav", f"{wav}_M001.wav", f"{wav}_F002.wav")
    assert columns(opened(tmp_path, "iemocap"), "label", "fold", "source") == {
        f"{wav}_F000.wav": ("neutral", 1, "Ses01F"),
        f"{wav}_M001.wav": ("happy", 1, "Ses01M"),
        f"{wav}_F002.wav": (None, 1, "Ses01F"),
    }

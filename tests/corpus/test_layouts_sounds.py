"""Layouts of everyday sounds and sound events, on small folders."""

from __future__ import annotations

from pathlib import Path

import pytest
import soundfile as sf
from layout_folders import columns, opened, put, text

from auricle.corpus.published.layouts.opening import LAYOUTS, open_layout
from auricle.corpus.sources import open_corpus
from auricle.corpus.table import Event
from auricle.errors import CorpusError


def test_esc50(tmp_path: Path) -> None:
    text(
        tmp_path,
        "meta/esc50.csv",
        "filename,fold,target,category,esc10,src_file,take",
        "1-100032-A-0.wav,1,0,dog,True,100032,A",
        "5-9032-A-0.wav,5,0,dog,True,9032,A",
        "1-100038-A-14.wav,1,14,chirping_birds,False,100038,A",
    )
    put(tmp_path, "audio/1-100032-A-0.wav", "audio/5-9032-A-0.wav", "audio/1-100038-A-14.wav")
    corpus = opened(tmp_path, "esc50")
    assert columns(corpus, "label", "fold", "source", "label_esc10") == {
        "audio/1-100032-A-0.wav": ("dog", 1, "freesound:100032", "dog"),
        "audio/5-9032-A-0.wav": ("dog", 5, "freesound:9032", "dog"),
        "audio/1-100038-A-14.wav": ("chirping_birds", 1, "freesound:100038", None),
    }


def us8k(root: Path) -> Path:
    text(
        root,
        "metadata/UrbanSound8K.csv",
        "slice_file_name,fsID,start,end,salience,fold,classID,class",
        "100032-3-0-0.wav,100032,0.0,0.317551,1,5,3,dog_bark",
        "100263-2-0-117.wav,100263,58.5,62.5,2,10,2,children_playing",
    )
    put(root, "audio/fold5/100032-3-0-0.wav", "audio/fold10/100263-2-0-117.wav")
    return root


def test_us8k_where_its_archive_was_unpacked(tmp_path: Path) -> None:
    us8k(tmp_path / "UrbanSound8K")
    corpus = opened(tmp_path / "UrbanSound8K", "us8k")
    assert columns(corpus, "label", "fold", "source", "salience") == {
        "audio/fold5/100032-3-0-0.wav": ("dog_bark", 5, "freesound:100032", 1),
        "audio/fold10/100263-2-0-117.wav": ("children_playing", 10, "freesound:100263", 2),
    }
    above = open_corpus(f"layout:us8k:{tmp_path}")
    assert above.root == tmp_path / "UrbanSound8K"
    assert above.fingerprint == corpus.fingerprint


def test_what_is_not_there_is_said(tmp_path: Path) -> None:
    us8k(tmp_path)
    (tmp_path / "audio/fold5/100032-3-0-0.wav").unlink()
    some = open_corpus(tmp_path)
    assert some.column("file") == ["audio/fold10/100263-2-0-117.wav"]
    assert some.ledger.reasons() == {
        "audio/fold5/100032-3-0-0.wav": "UrbanSound8K names it, but there is no such file",
    }
    assert some.ledger.sentence == "1 of 2 recordings used; 1 skipped: 1 missing"
    (tmp_path / "audio/fold10/100263-2-0-117.wav").rename(tmp_path / "audio/fold10/other.wav")
    with pytest.raises(CorpusError, match="has the tables of UrbanSound8K but none of its 2 recordings"):
        open_corpus(tmp_path)
    (tmp_path / "metadata/UrbanSound8K.csv").write_text("a,b\n1,2\n")
    with pytest.raises(CorpusError, match=r"UrbanSound8K.csv has no column 'slice_file_name'; found a, b"):
        open_corpus(f"layout:us8k:{tmp_path}")
    (tmp_path / "metadata/UrbanSound8K.csv").unlink()
    with pytest.raises(
        CorpusError, match=r"not laid out as UrbanSound8K is published: metadata/UrbanSound8K.csv should be in .*audio"
    ):
        open_corpus(f"layout:us8k:{tmp_path}")
    with pytest.raises(CorpusError, match="there is no folder"):
        open_corpus(f"layout:us8k:{tmp_path / 'nowhere'}")
    with pytest.raises(CorpusError, match="no layout is called 'us8'; did you mean 'us8k'"):
        open_corpus(f"layout:us8:{tmp_path}")
    with pytest.raises(CorpusError, match="write layout:us8k:FOLDER"):
        open_corpus("layout:us8k:")


def test_recordings_converted_to_another_format_count_as_themselves(tmp_path: Path) -> None:
    us8k(tmp_path)
    for path in tmp_path.glob("audio/*/*.wav"):
        wave, rate = sf.read(path)
        sf.write(path.with_suffix(".flac"), wave, rate)
        path.unlink()
    corpus = open_corpus(tmp_path)
    assert corpus.column("file") == ["audio/fold5/100032-3-0-0.flac", "audio/fold10/100263-2-0-117.flac"]
    assert not corpus.ledger.skipped("recording")


def test_two_copies_are_not_guessed_between(tmp_path: Path) -> None:
    us8k(tmp_path / "a")
    us8k(tmp_path / "b")
    with pytest.raises(CorpusError, match=r"holds UrbanSound8K 2 times \(a, b\)"):
        open_layout(LAYOUTS["us8k"], tmp_path)


def test_another_publishers_division(tmp_path: Path) -> None:
    data = us8k(tmp_path / "data")
    table = tmp_path / "division.csv"
    table.write_text("file_name,label,split\naudio/fold5/100032-3-0-0.wav,dog,valid\naudio/gone.wav,x,train\n")
    corpus = open_corpus(f"layout:us8k:{data}?split={table}")
    assert columns(corpus, "label", "split", "fold") == {"audio/fold5/100032-3-0-0.wav": ("dog_bark", "valid", None)}
    assert corpus.notes[-1] == "divided by division.csv"
    assert corpus.ledger.sentence == (
        "1 of 2 recordings used; 1 skipped: 1 not in division.csv. "
        "2 of 4 rows used; 2 skipped: 1 of skipped recordings, 1 of unknown clips"
    )
    table.write_text("file,label\naudio/fold5/100032-3-0-0.wav,x\n")
    with pytest.raises(CorpusError, match="has neither a column `split` nor `fold`"):
        open_corpus(f"layout:us8k:{data}?split={table}")
    table.write_text("file,split\nx.wav,train\n")
    with pytest.raises(CorpusError, match="names none of the clips"):
        open_corpus(f"layout:us8k:{data}?split={table}")


def test_own_table_comes_before_recognition(tmp_path: Path) -> None:
    us8k(tmp_path)
    (tmp_path / "metadata.csv").write_text("file,label\naudio/fold5/100032-3-0-0.wav,mine\n")
    assert open_corpus(tmp_path).column("label") == ["mine"]


def test_fsd50k(tmp_path: Path) -> None:
    text(
        tmp_path,
        "FSD50K.ground_truth/dev.csv",
        "fname,labels,mids,split",
        '64760,"Electric_guitar,Guitar,Music","/m/02sgy,/m/0342h,/m/04rlf",train',
        "16399,Bark,/m/05tny_,val",
    )
    text(tmp_path, "FSD50K.ground_truth/eval.csv", "fname,labels,mids", '37199,"Bark,Dog","/m/05tny_,/m/0bt9lr"')
    put(tmp_path, "FSD50K.dev_audio/64760.wav", "FSD50K.dev_audio/16399.wav", "FSD50K.eval_audio/37199.wav")
    corpus = opened(tmp_path, "fsd50k")
    assert columns(corpus, "label", "split") == {
        "FSD50K.dev_audio/64760.wav": ("Electric_guitar;Guitar;Music", "train"),
        "FSD50K.dev_audio/16399.wav": ("Bark", "valid"),
        "FSD50K.eval_audio/37199.wav": ("Bark;Dog", "test"),
    }
    assert corpus.labels[0] == ("Electric_guitar", "Guitar", "Music")


def test_fsdkaggle2018(tmp_path: Path) -> None:
    meta = "FSDKaggle2018.meta"
    text(
        tmp_path,
        f"{meta}/train_post_competition.csv",
        "fname,label,manually_verified,freesound_id,license",
        "a.wav,Cello,1,7,x",
    )
    text(tmp_path, f"{meta}/test_post_competition_scoring_clips.csv", "fname,label,usage", "b.wav,Gong,Public")
    put(tmp_path, "FSDKaggle2018.audio_train/a.wav", "FSDKaggle2018.audio_test/b.wav")
    assert columns(opened(tmp_path, "fsdkaggle2018"), "label", "split", "manually_verified") == {
        "FSDKaggle2018.audio_train/a.wav": ("Cello", "train", True),
        "FSDKaggle2018.audio_test/b.wav": ("Gong", "test", None),
    }


def test_audioset_with_some_of_its_recordings(tmp_path: Path) -> None:
    text(
        tmp_path,
        "class_labels_indices.csv",
        "index,mid,display_name",
        '0,/m/09x0r,"Speech"',
        '1,/m/05zppz,"Male speech, man speaking"',
    )
    head = (
        "# Segments csv created Sun Mar  5 10:54:31 2017",
        "# num_ytids=2",
        "# YTID, start_seconds, end_seconds, positive_labels",
    )
    text(
        tmp_path,
        "balanced_train_segments.csv",
        *head,
        '--PJHxphWEs, 30.000, 40.000, "/m/09x0r,/m/05zppz"',
        'YabcdefghiJ, 0.000, 10.000, "/m/09x0r"',
        'goneabcdefg, 0.000, 10.000, "/m/09x0r"',
    )
    text(tmp_path, "eval_segments.csv", *head, '007P6bFgRCU, 10.000, 20.000, "/m/05zppz"')
    put(
        tmp_path,
        "audio/train/Y--PJHxphWEs.wav",
        "audio/train/YabcdefghiJ.wav",
        "audio/eval/007P6bFgRCU_10.000_20.000.wav",
    )
    corpus = opened(tmp_path, "audioset")
    assert columns(corpus, "label", "split", "source") == {
        "audio/train/Y--PJHxphWEs.wav": ("Speech;Male speech, man speaking", "train", "--PJHxphWEs"),
        "audio/train/YabcdefghiJ.wav": ("Speech", "train", "YabcdefghiJ"),
        "audio/eval/007P6bFgRCU_10.000_20.000.wav": ("Male speech, man speaking", "test", "007P6bFgRCU"),
    }
    assert corpus.ledger.sentence == "3 of 4 recordings used; 1 skipped: 1 missing"
    assert corpus.notes[1:] == (
        "2 of 3 segments of balanced_train_segments are here",
        "1 of 1 segment of eval_segments are here",
    )


def test_events_of_urban_sed_come_with_their_faults_counted(tmp_path: Path) -> None:
    for split in ("train", "validate", "test"):
        put(tmp_path, f"audio/{split}/soundscape_{split}0.wav", seconds=1.0)
    text(tmp_path, "annotations/train/soundscape_train0.txt", "0.1\t0.4\tsiren", "0.5\t1.5\tdog_bark", "-1\t0.2\tsiren")
    text(tmp_path, "annotations/validate/soundscape_validate0.txt", "0.2\t0.3\tdrilling")
    text(tmp_path, "annotations/test/soundscape_test0.txt", "")
    corpus = opened(tmp_path, "urban_sed")
    assert columns(corpus, "label", "split") == {
        "audio/train/soundscape_train0.wav": ("dog_bark;siren", "train"),
        "audio/validate/soundscape_validate0.wav": ("drilling", "valid"),
        "audio/test/soundscape_test0.wav": (None, "test"),
    }
    assert corpus.events == [
        Event("audio/train/soundscape_train0.wav", 0.1, 0.4, "siren"),
        Event("audio/train/soundscape_train0.wav", 0.5, 1.0, "dog_bark"),
        Event("audio/validate/soundscape_validate0.wav", 0.2, 0.3, "drilling"),
    ]
    assert corpus.ledger.sentence.endswith("3 of 4 events used; 1 skipped: 1 with a negative onset")
    assert any("cut at the end of the recording: 1 event" in note for note in corpus.notes)


def test_desed(tmp_path: Path) -> None:
    text(tmp_path, "metadata/train/weak.tsv", "filename\tevent_labels", "Ya_0_10.wav\tSpeech,Dog")
    text(
        tmp_path,
        "metadata/validation/validation.tsv",
        "filename\tonset\toffset\tevent_label",
        "Yb_0_10.wav\t0.1\t0.5\tSpeech",
        "Yb_0_10.wav\t0.6\t0.7\tCat",
        "Yc_0_10.wav\t\t\t",
    )
    put(
        tmp_path,
        "audio/train/weak/Ya_0_10.wav",
        "audio/validation/Yb_0_10.wav",
        "audio/validation/Yc_0_10.wav",
        seconds=1,
    )
    corpus = opened(tmp_path, "desed")
    assert columns(corpus, "label", "split", "strong") == {
        "audio/train/weak/Ya_0_10.wav": ("Dog;Speech", "train", False),
        "audio/validation/Yb_0_10.wav": ("Cat;Speech", "test", True),
        "audio/validation/Yc_0_10.wav": (None, "test", True),
    }
    assert [(e.onset, e.label) for e in corpus.events] == [(0.1, "Speech"), (0.6, "Cat")]
    text(tmp_path, "metadata/eval/public.tsv", "filename\tonset\toffset\tevent_label", "Yd.wav\t0\t0.5\tDog")
    put(tmp_path, "audio/eval/public/Yd.wav", seconds=1)
    assert columns(open_corpus(tmp_path), "split") == {
        "audio/train/weak/Ya_0_10.wav": ("train",),
        "audio/validation/Yb_0_10.wav": ("valid",),
        "audio/validation/Yc_0_10.wav": ("valid",),
        "audio/eval/public/Yd.wav": ("test",),
    }


def test_dcase2016_task2(tmp_path: Path) -> None:
    dev, test = "dcase2016_task2_train_dev/dcase2016_task2_dev", "dcase2016_task2_test_public"
    text(tmp_path, f"{dev}/annotation/dev_1.txt", "0.5\t0.9\tcough")
    text(tmp_path, f"{test}/annotation/test_1.txt", "0.1\t0.2\tkeyboard")
    put(tmp_path, f"{dev}/sound/dev_1.wav", f"{test}/sound/test_1.wav", seconds=1)
    corpus = opened(tmp_path, "dcase2016_task2")
    assert columns(corpus, "label", "split") == {
        f"{dev}/sound/dev_1.wav": ("cough", "train"),
        f"{test}/sound/test_1.wav": ("keyboard", "test"),
    }
    assert len(corpus.events) == 2


def test_clotho(tmp_path: Path) -> None:
    head = "file_name,caption_1,caption_2,caption_3,caption_4,caption_5"
    for folder in ("development", "evaluation"):
        text(tmp_path, f"clotho_captions_{folder}.csv", head, f'{folder}.wav,"A dog, barking",b,c,d,e')
        put(tmp_path, f"{folder}/{folder}.wav")
    assert columns(opened(tmp_path, "clotho"), "split", "caption_1", "caption_5") == {
        "development/development.wav": ("train", "A dog, barking", "e"),
        "evaluation/evaluation.wav": ("test", "A dog, barking", "e"),
    }

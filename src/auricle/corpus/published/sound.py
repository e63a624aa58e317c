"""Everyday sounds, scenes and events: addresses, licences and checksums.

Checksums are those of the publisher (Zenodo) or of well-kept loaders (soundata, HEAR's preprocessing), otherwise empty.
"""

from __future__ import annotations

from auricle.corpus.published.archive import Archive, DataSet, zenodo

_AUDIOSET = "http://storage.googleapis.com/us_audioset/youtube_corpus/v1/csv/"
_TAU = "TAU-urban-acoustic-scenes-2020-mobile-development"
_TAU_SUMS = (
    *("b1e85b8a908d3d6a6ab73268f385d5c8", "4310a13cc2943d6ce3f70eba7ba4c784", "ed38956c4246abb56190c1e9b602b7b8"),
    *("97ab8560056b6816808dedc044dcc023", "b50f5e0bfed33cd8e52cb3e7f815c6cb", "fbf856a3a86fff7520549c899dc94372"),
    *("0dbffe7b6e45564da649378723284062", "bb6f77832bf0bd9f786f965beb251b2e", "a65596a5372eab10c78e08a0de797c9e"),
    *("2ad595819ffa1d56d2de4c7ed43205a6", "0ad29f7040a4e6a22cfd639b3a6738e5", "e5f4400c6b9697295fab4cf507155a2f"),
    *("8855ab9f9896422746ab4c5d89d8da2f", "092ad744452cd3e7de78f988a3d13020", "4b5eb85f6592aebf846088d9df76b420"),
    "2e0a89723e58a3836be019e6996ae460",
)

DATA = (
    DataSet(
        name="esc50",
        title="ESC-50",
        licence="CC BY-NC 3.0 (the ESC-10 part CC BY 3.0)",
        citation='K. J. Piczak, "ESC: Dataset for Environmental Sound Classification", ACM MM 2015',
        home="https://github.com/karolpiczak/ESC-50",
        size="2,000 clips of 5 s, 0.6 GB",
        layout="esc50",
        # GitHub packs this archive on request: its sum is not fixed.
        archives=(Archive("https://github.com/karoldvl/ESC-50/archive/master.zip", name="ESC-50-master.zip"),),
    ),
    DataSet(
        name="us8k",
        title="UrbanSound8K",
        licence="CC BY-NC 3.0",
        citation='J. Salamon, C. Jacoby, J. P. Bello, "A Dataset and Taxonomy for Urban Sound Research", ACM MM 2014',
        home="https://urbansounddataset.weebly.com/urbansound8k.html",
        size="8,732 clips of up to 4 s, about 6 GB",
        layout="us8k",
        archives=zenodo(1203745, {"UrbanSound8K.tar.gz": "9aa69802bbf37fb986f71ec1483a196e"}),
    ),
    DataSet(
        name="fsd50k",
        title="FSD50K",
        licence="CC BY 4.0 as a whole; each clip CC0, CC BY, CC BY-NC or CC Sampling+",
        citation='E. Fonseca et al., "FSD50K: an Open Dataset of Human-Labeled Sound Events", arXiv 2010.00475',
        home="https://zenodo.org/record/4060432",
        size="51,197 clips, 108 h, about 25 GB",
        layout="fsd50k",
        archives=(
            *zenodo(
                4060432,
                {
                    "FSD50K.dev_audio.zip": "c480d119b8f7a7e32fdb58f3ea4d6c5a",
                    "FSD50K.dev_audio.z01": "faa7cf4cc076fc34a44a479a5ed862a3",
                    "FSD50K.dev_audio.z02": "8f9b66153e68571164fb1315d00bc7bc",
                    "FSD50K.dev_audio.z03": "1196ef47d267a993d30fa98af54b7159",
                    "FSD50K.dev_audio.z04": "d088ac4e11ba53daf9f7574c11cccac9",
                    "FSD50K.dev_audio.z05": "81356521aa159accd3c35de22da28c7f",
                    "FSD50K.eval_audio.zip": "6fa47636c3a3ad5c7dfeba99f2637982",
                    "FSD50K.eval_audio.z01": "3090670eaeecc013ca1ff84fe4442aeb",
                },
                unpack="no",
            ),
            *zenodo(
                4060432,
                {
                    "FSD50K.ground_truth.zip": "ca27382c195e37d2269c4c866dd73485",
                    "FSD50K.metadata.zip": "b9ea0c829a411c1d42adb9da539ed237",
                },
            ),
        ),
        how=(
            "join and unpack the split archives there: zip -s 0 FSD50K.dev_audio.zip --out dev.zip && unzip dev.zip; "
            "the same for eval_audio"
        ),
    ),
    DataSet(
        name="fsdkaggle2018",
        title="FSDKaggle2018",
        licence="CC BY 4.0 as a whole; each clip has a Creative Commons licence of its own",
        citation='E. Fonseca et al., "General-purpose Tagging of Freesound Audio with AudioSet Labels", DCASE 2018',
        home="https://zenodo.org/record/2552860",
        size="11,073 clips",
        layout="fsdkaggle2018",
        archives=zenodo(2552860, {f"FSDKaggle2018.{part}.zip": "" for part in ("audio_train", "audio_test", "meta")}),
    ),
    DataSet(
        name="audioset",
        title="AudioSet (its lists)",
        licence="lists and labels CC BY 4.0; the sound belongs to whoever uploaded it",
        citation='J. F. Gemmeke et al., "Audio Set: An ontology and human-labeled dataset", ICASSP 2017',
        home="https://research.google.com/audioset/download.html",
        size="2.1 million segments of 10 s; the lists 0.1 GB",
        layout="audioset",
        archives=tuple(
            Archive(f"{_AUDIOSET}{table}.csv")
            for table in (
                *("balanced_train_segments", "eval_segments", "unbalanced_train_segments", "class_labels_indices"),
            )
        ),
        how="only lists are published: put the recordings that you have beside them, called by their video",
    ),
    DataSet(
        name="vocalsound",
        title="VocalSound",
        licence="CC BY-SA 4.0",
        citation='Y. Gong, J. Yu, J. Glass, "VocalSound", ICASSP 2022',
        home="https://github.com/YuanGongND/vocalsound",
        size="21,024 clips of 3,365 people, 1.7 GB (16 kHz)",
        layout="vocalsound",
        archives=(Archive("https://www.dropbox.com/s/c5ace70qh1vbyzb/vs_release_16k.zip?dl=1"),),
    ),
    DataSet(
        name="vocal_imitation",
        title="Vocal Imitation Set",
        licence="CC BY 4.0",
        citation='B. Kim et al., "Vocal Imitation Set: a dataset of vocally imitated sound events", DCASE 2018',
        home="https://zenodo.org/record/1340763",
        layout="vocal_imitation",
        archives=zenodo(1340763, {"VocalImitationSet_v1.1.3.zip": "386e7b1487fe0800ade4916c344086bc"}),
    ),
    DataSet(
        name="libricount",
        title="LibriCount",
        licence="CC BY 4.0",
        citation='F.-R. Stöter et al., "Classification vs. Regression in Supervised Learning for Single Channel '
        'Speaker Count Estimation", ICASSP 2018',
        home="https://zenodo.org/record/1216072",
        size="5,720 mixtures of 5 s",
        layout="libricount",
        archives=zenodo(1216072, {"LibriCount10-0dB.zip": "30c8f844dc59fa65d216d53db9dc37e2"}),
    ),
    DataSet(
        name="coughvid",
        title="COUGHVID",
        licence="CC BY 4.0",
        citation='L. Orlandic, T. Teijeiro, D. Atienza, "The COUGHVID crowdsourcing dataset", Scientific Data 2021',
        home="https://zenodo.org/record/4498364",
        layout="coughvid",
        archives=zenodo(4498364, {"public_dataset.zip": "110d638a292cfa5c3a71a95d60b5b466"}),
        how="convert its .webm files to .wav (for example with ffmpeg)",
    ),
    DataSet(
        name="gunshots",
        title="Gunshot Triangulation",
        licence="see its page",
        citation='S. Cooper, S. Shaw, "Gunshots Recorded in an Open Field Using iPod Touch Devices", 2020',
        home="https://zenodo.org/record/3997406",
        size="22 shots, 4 recorders",
        layout="gunshots",
        archives=zenodo(
            3997406,
            {
                "mic1raw.wav": "e2f4acad742278c973e9c190fee03b5f",
                "mic2raw16b.wav": "184d888f457f331f592eeb4ee5fa12e2",
                "mic3raw.wav": "db2ffa4fdf8b42b98c208670f4578b4b",
                "mic4raw.wav": "571da84eecf397bf0356a24400769ced",
            },
        ),
    ),
    DataSet(
        name="clotho",
        title="Clotho 2.1",
        licence="captions: Tampere University (non-commercial, with attribution); each clip has its own CC licence",
        citation='K. Drossos, S. Lipping, T. Virtanen, "Clotho: an Audio Captioning Dataset", ICASSP 2020',
        home="https://zenodo.org/record/4783391",
        size="5,929 clips of 15 to 30 s with five captions each",
        layout="clotho",
        archives=zenodo(
            4783391,
            {
                "clotho_audio_development.7z": "c8b05bc7acdb13895bb3c6a29608667e",
                "clotho_audio_evaluation.7z": "4569624ccadf96223f19cb59fe4f849f",
                "clotho_audio_validation.7z": "7dba730be08bada48bd15dc4e668df59",
                "clotho_captions_development.csv": "d4090b39ce9f2491908eebf4d5b09bae",
                "clotho_captions_evaluation.csv": "1b16b9e57cf7bdb7f13a13802aeb57e2",
                "clotho_captions_validation.csv": "5879e023032b22a2c930aaa0528bead4",
            },
        ),
        how="unpack the .7z archives there (7z x)",
    ),
    DataSet(
        name="urban_sed",
        title="URBAN-SED 2.0",
        licence="CC BY 4.0",
        citation='J. Salamon et al., "Scaper: A Library for Soundscape Synthesis and Augmentation", WASPAA 2017',
        home="https://zenodo.org/record/1324404",
        size="10,000 soundscapes of 10 s",
        layout="urban_sed",
        archives=zenodo(1324404, {"URBAN-SED_v2.0.0.tar.gz": "a2d24a2148ece7c021fcc079ee87c2dc"}),
    ),
    DataSet(
        name="desed",
        title="DESED (public evaluation part and tables)",
        licence="each part has a licence file; the recordings belong to whoever uploaded them",
        citation='N. Turpault et al., "Sound event detection in domestic environments with weakly labeled data and '
        'soundscape synthesis", DCASE 2019',
        home="https://project.inria.fr/desed/",
        size="692 strongly labelled clips of 10 s, 0.9 GB, and the tables of the others",
        layout="desed",
        archives=(
            *zenodo(4560759, {"DESED_public_eval.tar.gz": ""}),
            *zenodo(4639776, {"audioset_metadata.tar.gz": ""}),
        ),
        how="training and validation recordings come from AudioSet: get them with the publisher's package `desed`, and "
        "merge all folders audio/ and metadata/",
    ),
    DataSet(
        name="dcase2016_task2",
        title="DCASE 2016 task 2",
        licence="see its page",
        citation='A. Mesaros et al., "Detection and Classification of Acoustic Scenes and Events: Outcome of the DCASE '
        '2016 Challenge", TASLP 2018',
        home="https://archive.org/details/dcase2016_task2_train_dev",
        size="72 synthetic office recordings of 2 minutes",
        layout="dcase2016_task2",
        archives=(
            Archive(
                "https://archive.org/download/dcase2016_task2_train_dev/dcase2016_task2_train_dev.zip",
                "md5:4e1b5e8887159193e8624dec801eb9e7",
            ),
            Archive(
                "https://archive.org/download/dcase2016_task2_test_public/dcase2016_task2_test_public.zip",
                "md5:ac98768b39a08fc0c6c2ddd15a981dd7",
            ),
        ),
    ),
    DataSet(
        name="tau_scenes",
        title="TAU Urban Acoustic Scenes 2020 Mobile, development part",
        licence="Tampere University, non-commercial use only",
        citation='T. Heittola, A. Mesaros, T. Virtanen, "Acoustic scene classification in DCASE 2020 Challenge: '
        'generalization across devices and low complexity solutions", DCASE 2020',
        home="https://zenodo.org/record/3819968",
        size="23,040 clips of 10 s, 64 h",
        layout="tau_scenes",
        archives=zenodo(
            3819968,
            {f"{_TAU}.audio.{i}.zip": digits for i, digits in enumerate(_TAU_SUMS, start=1)}
            | {f"{_TAU}.meta.zip": "6eae9db553ce48e4ea246e34e50a3cf5"},
        ),
    ),
)

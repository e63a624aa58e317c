"""Music: addresses, licences and checksums (from Zenodo, mirdata, HEAR, FMA)."""

from __future__ import annotations

from auricle.corpus.published.archive import Archive, DataSet, zenodo

_NSYNTH = "http://download.magenta.tensorflow.org/datasets/nsynth/nsynth-"
_SPLIT = "https://raw.githubusercontent.com/jongpillee/music_dataset_split/master/GTZAN_split/"
_JAMENDO = 'D. Bogdanov et al., "The MTG-Jamendo Dataset for Automatic Music Tagging", ML4MD at ICML 2019'
_TZANETAKIS = 'G. Tzanetakis, P. Cook, "Musical genre classification of audio signals", IEEE TSAP 2002'

DATA = (
    DataSet(
        name="gtzan",
        title="GTZAN genres",
        licence="unknown: none was ever given",
        citation=_TZANETAKIS,
        home="http://marsyas.info/downloads/datasets.html",
        size="1,000 clips of 30 s, 1.2 GB",
        layout="gtzan",
        archives=(
            Archive("http://opihi.cs.uvic.ca/sound/genres.tar.gz", "md5:5b3d6dddb579ab49814ab86dba69e7c7"),
            *(Archive(f"{_SPLIT}{s}_filtered.txt", folder="genres") for s in ("train", "valid", "test")),
        ),
        how="the server of its authors is often down",
    ),
    DataSet(
        name="gtzan_music_speech",
        title="GTZAN music and speech",
        licence="unknown: none was ever given",
        citation=_TZANETAKIS,
        home="http://marsyas.info/downloads/datasets.html",
        size="128 clips of 30 s",
        layout="gtzan_music_speech",
        archives=(Archive("http://opihi.cs.uvic.ca/sound/music_speech.tar.gz"),),
        how="the server of its authors is often down",
    ),
    DataSet(
        name="nsynth",
        title="NSynth",
        licence="CC BY 4.0",
        citation='J. Engel et al., "Neural Audio Synthesis of Musical Notes with WaveNet Autoencoders", ICML 2017',
        home="https://magenta.tensorflow.org/datasets/nsynth",
        size="305,979 notes of 4 s",
        layout="nsynth",
        archives=(
            Archive(f"{_NSYNTH}train.jsonwav.tar.gz", "md5:fde6665a93865503ba598b9fac388660"),
            Archive(f"{_NSYNTH}valid.jsonwav.tar.gz", "md5:87e94a00a19b6dbc99cf6d4c0c0cae87"),
            Archive(f"{_NSYNTH}test.jsonwav.tar.gz", "md5:5e6f8719bf7e16ad0a00d518b78af77d"),
        ),
    ),
    DataSet(
        name="maestro",
        title="MAESTRO 3",
        licence="CC BY-NC-SA 4.0",
        citation='C. Hawthorne et al., "Enabling Factorized Piano Music Modeling and Generation with the MAESTRO '
        'Dataset", ICLR 2019',
        home="https://magenta.tensorflow.org/datasets/maestro",
        size="1,276 performances, 199 h, about 100 GB",
        layout="maestro",
        archives=(
            Archive(
                "https://storage.googleapis.com/magentadata/datasets/maestro/v3.0.0/maestro-v3.0.0.zip",
                "md5:41941abdcd786c8066d532002e3b79b9",
            ),
        ),
    ),
    DataSet(
        name="fma_small",
        title="FMA small",
        licence="metadata CC BY 4.0; each track has a licence of its own",
        citation='M. Defferrard et al., "FMA: A Dataset For Music Analysis", ISMIR 2017',
        home="https://github.com/mdeff/fma",
        size="8,000 clips of 30 s, 7.2 GB",
        layout="fma_small",
        archives=(
            Archive(
                "https://os.unil.cloud.switch.ch/fma/fma_small.zip", "sha1:ade154f733639d52e35e32f5593efe5be76c6d70"
            ),
            Archive(
                "https://os.unil.cloud.switch.ch/fma/fma_metadata.zip", "sha1:f0df49ffe5f2a6008d7dc83c6915b31835dfe733"
            ),
        ),
    ),
    DataSet(
        name="mridangam",
        title="Mridangam Stroke 1.5",
        licence="CC BY 3.0",
        citation='A. Anantapadmanabhan, A. Bellur, H. A. Murthy, "Modal analysis and transcription of strokes of the '
        'mridangam using non-negative matrix factorization", ICASSP 2013',
        home="https://compmusic.upf.edu/mridangam-stroke-dataset",
        size="6,977 strokes",
        layout="mridangam",
        archives=zenodo(4068196, {"mridangam_stroke_1.5.zip": "39af55b2476b94c7946bec24331ec01a"}),
    ),
    DataSet(
        name="beijing_opera",
        title="Beijing Opera percussion instruments 1.0",
        licence="see its page",
        citation='M. Tian et al., "A study of instrument-wise onset detection in Beijing Opera percussion ensembles", '
        "ICASSP 2014",
        home="https://zenodo.org/record/1285212",
        size="236 strokes",
        layout="beijing_opera",
        archives=zenodo(1285212, {"beijing_opera_percussion_instrument_1.0.zip": "51dc70d02a06b9d96befadf320a6996f"}),
    ),
    DataSet(
        name="medley_solos_db",
        title="Medley-solos-DB",
        licence="CC BY 4.0",
        citation='V. Lostanlen, C.-E. Cella, "Deep convolutional networks on the pitch spiral for musical instrument '
        'recognition", ISMIR 2016',
        home="https://zenodo.org/record/3464194",
        size="21,571 clips of 3 s",
        layout="medley_solos_db",
        archives=zenodo(
            3464194,
            {
                "Medley-solos-DB.tar.gz": "f5facf398793ef5c1f80c013afdf3e5f",
                "Medley-solos-DB_metadata.csv": "fda6a589c56785f2195c9227809c521a",
            },
        ),
    ),
    DataSet(
        name="vocalset",
        title="VocalSet 1.1",
        licence="CC BY 4.0",
        citation='J. Wilkins et al., "VocalSet: A Singing Voice Dataset", ISMIR 2018',
        home="https://zenodo.org/record/1203819",
        size="3,560 recordings of 20 singers, 2.1 GB",
        layout="vocalset",
        archives=zenodo(1203819, {"VocalSet11.zip": ""}),
    ),
    DataSet(
        name="magnatagatune",
        title="MagnaTagATune",
        licence="CC BY-NC-SA",
        citation='E. Law et al., "Evaluation of algorithms using games: the case of music tagging", ISMIR 2009',
        home="https://mirg.city.ac.uk/codeapps/the-magnatagatune-dataset",
        size="25,863 clips of 29 s, about 3 GB",
        layout="magnatagatune",
        archives=(
            *(
                Archive(f"https://mirg.city.ac.uk/datasets/magnatagatune/mp3.zip.00{i}", unpack="no")
                for i in range(1, 4)
            ),
            Archive("https://mirg.city.ac.uk/datasets/magnatagatune/annotations_final.csv"),
        ),
        how="join and unpack the sound there: cat mp3.zip.00? > mp3.zip && unzip mp3.zip",
    ),
    DataSet(
        name="mtg_jamendo",
        title="MTG-Jamendo",
        licence="metadata CC BY-NC-SA 4.0; each track has a Creative Commons licence of its own",
        citation=_JAMENDO,
        home="https://github.com/MTG/mtg-jamendo-dataset",
        size="55,701 tracks, 508 GB",
        layout="mtg_jamendo_top50tags",
        how="fetch it with its repository's own script, and put the repository's data/splits beside the sound",
    ),
    DataSet(
        name="emomusic",
        title="emoMusic",
        licence="on request, research only",
        citation='M. Soleymani et al., "1000 Songs for Emotional Analysis of Music", CrowdMM 2013',
        home="https://cvml.unige.ch/databases/emoMusic/",
        size="744 clips of 45 s",
        layout="emomusic",
        how="ask for it at its page",
    ),
    DataSet(
        name="giantsteps_key",
        title="GiantSteps key",
        licence="annotations free for research; the previews belong to Beatport",
        citation='P. Knees et al., "Two data sets for tempo estimation and key detection in electronic dance music '
        'annotated from user corrections", ISMIR 2015',
        home="https://github.com/GiantSteps/giantsteps-key-dataset",
        size="604 clips of 2 minutes",
        layout="giantsteps_key",
        how="clone its repository and run its audio_dl.sh",
    ),
    DataSet(
        name="surge",
        title="Pitch Audio Dataset (Surge synthesizer)",
        licence="see its page",
        citation='J. Turian et al., "One Billion Audio Sounds from GPU-enabled Modular Synthesis", DAFx 2021',
        home="https://zenodo.org/record/4677097",
        size="2,084 tones, 88 notes each",
        layout="surge",
        how="download it from its page; EVAR's split is evar/predefined/dataset_surge_tone_splits.csv, by tone",
    ),
)

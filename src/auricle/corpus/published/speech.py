"""Speech: addresses, licences and checksums (from Zenodo, torchaudio, HEAR)."""

from __future__ import annotations

from auricle.corpus.published.archive import Archive, DataSet, zenodo

_COMMANDS = "https://storage.googleapis.com/download.tensorflow.org/data/speech_commands_"
_COMMANDS_PAPER = 'P. Warden, "Speech Commands: A Dataset for Limited-Vocabulary Speech Recognition", arXiv 1804.03209'
_VOX = "https://www.robots.ox.ac.uk/~vgg/data/voxceleb/meta/"
_LIBRI = "https://www.openslr.org/resources/12/"

DATA = (
    DataSet(
        name="speech_commands_v1",
        title="Speech Commands 0.01",
        licence="CC BY 4.0",
        citation=_COMMANDS_PAPER,
        home="https://arxiv.org/abs/1804.03209",
        size="64,721 clips of 1 s, 30 words, 1.4 GB",
        layout="speech_commands",
        archives=(Archive(f"{_COMMANDS}v0.01.tar.gz", "md5:3cd23799cb2bbdec517f1cc028f8d43c"),),
    ),
    DataSet(
        name="speech_commands_v2",
        title="Speech Commands 0.02",
        licence="CC BY 4.0",
        citation=_COMMANDS_PAPER,
        home="https://arxiv.org/abs/1804.03209",
        size="105,829 clips of 1 s, 35 words, 2.3 GB",
        layout="speech_commands",
        archives=(Archive(f"{_COMMANDS}v0.02.tar.gz", "md5:6b74f3901214cb2c2934e98196829835"),),
    ),
    DataSet(
        name="librispeech",
        title="LibriSpeech (train-clean-100, dev-clean, test-clean)",
        licence="CC BY 4.0",
        citation='V. Panayotov et al., "Librispeech: an ASR corpus based on public domain audio books", ICASSP 2015',
        home="https://www.openslr.org/12",
        size="100 h, 7 GB",
        layout="librispeech",
        archives=(
            Archive(
                f"{_LIBRI}train-clean-100.tar.gz",
                "sha256:d4ddd1d5a6ab303066f14971d768ee43278a5f2a0aa43dc716b0e64ecbbbf6e2",
            ),
            Archive(
                f"{_LIBRI}dev-clean.tar.gz", "sha256:76f87d090650617fca0cac8f88b9416e0ebf80350acb97b343a85fa903728ab3"
            ),
            Archive(
                f"{_LIBRI}test-clean.tar.gz", "sha256:39fde525e59672dc6d1551919b1478f724438a95aa55f874b576be21967e6c23"
            ),
        ),
    ),
    DataSet(
        name="voxceleb1",
        title="VoxCeleb1 (its lists)",
        licence="lists Creative Commons, see its page; the recordings belong to whoever uploaded them",
        citation='A. Nagrani, J. S. Chung, A. Zisserman, "VoxCeleb: a large-scale speaker identification dataset", '
        "Interspeech 2017",
        home="https://www.robots.ox.ac.uk/~vgg/data/voxceleb/vox1.html",
        size="153,516 utterances of 1,251 speakers, about 36 GB; the lists 10 MB",
        layout="voxceleb1",
        archives=(Archive(f"{_VOX}iden_split.txt"), Archive(f"{_VOX}veri_test.txt")),
        how="ask for the recordings at its page, and unpack dev and test beside these lists (wav/id10001 ...)",
    ),
    DataSet(
        name="vox_lingua",
        title="VoxLingua107, dev part",
        licence="CC BY 4.0; the recordings belong to whoever uploaded them",
        citation='J. Valk, T. Alumäe, "VoxLingua107: a Dataset for Spoken Language Recognition", SLT 2021',
        home="https://bark.phon.ioc.ee/voxlingua107/",
        size="1,609 utterances of 33 languages",
        layout="vox_lingua",
        archives=(Archive("http://bark.phon.ioc.ee/voxlingua107/dev.zip", "md5:07fbd4732c97f28c10ec8dcfed4f600e"),),
    ),
    DataSet(
        name="fluent_speech_commands",
        title="Fluent Speech Commands",
        licence="Fluent Speech Commands Public License (academic use)",
        citation='L. Lugosch et al., "Speech Model Pre-training for End-to-End Spoken Language Understanding", '
        "Interspeech 2019",
        home="https://fluent.ai/fluent-speech-commands-a-dataset-for-spoken-language-understanding-research/",
        size="30,043 utterances of 97 speakers",
        layout="fluent_speech_commands",
        how="fill in the form at its page",
    ),
    DataSet(
        name="asvspoof2015",
        title="ASVspoof 2015",
        licence="see its page",
        citation='Z. Wu et al., "ASVspoof 2015: the first automatic speaker verification spoofing and countermeasures '
        'challenge", Interspeech 2015',
        home="https://datashare.ed.ac.uk/handle/10283/853",
        layout="asvspoof2015",
        how="download its parts from its page",
    ),
    DataSet(
        name="crema_d",
        title="CREMA-D",
        licence="Open Database License 1.0, contents Database Contents License 1.0",
        citation='H. Cao et al., "CREMA-D: Crowd-sourced Emotional Multimodal Actors Dataset", IEEE TAC 2014',
        home="https://github.com/CheyneyComputerScience/CREMA-D",
        size="7,442 utterances of 91 actors",
        layout="crema_d",
        how="clone its repository with git lfs (the folder AudioWAV is enough)",
    ),
    DataSet(
        name="ravdess",
        title="RAVDESS, speech",
        licence="CC BY-NC-SA 4.0",
        citation='S. R. Livingstone, F. A. Russo, "The Ryerson Audio-Visual Database of Emotional Speech and Song", '
        "PLoS ONE 2018",
        home="https://zenodo.org/record/1188976",
        size="1,440 utterances of 24 actors, 0.2 GB",
        layout="ravdess",
        archives=zenodo(1188976, {"Audio_Speech_Actors_01-24.zip": "bc696df654c87fed845eb13823edef8a"}),
    ),
    DataSet(
        name="iemocap",
        title="IEMOCAP",
        licence="on request, research only",
        citation='C. Busso et al., "IEMOCAP: Interactive emotional dyadic motion capture database", LREV 2008',
        home="https://sail.usc.edu/iemocap/",
        size="12 h, 10 speakers",
        layout="iemocap",
        how="ask for it at its page",
    ),
    DataSet(
        name="voxforge",
        title="VoxForge, six languages",
        licence="GPL",
        citation="VoxForge, as EVAR divides it (D. Niizumi et al., BYOL for Audio, TASLP 2023)",
        home="http://www.voxforge.org/",
        size="176,428 utterances",
        how="fetch it with EVAR's download_voxforge.py, and open EVAR's table evar/metadata/voxforge.csv beside it",
    ),
)

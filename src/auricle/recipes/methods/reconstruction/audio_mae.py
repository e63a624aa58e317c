"""Audio-MAE: masked autoencoding of spectrogram patches (arXiv 2207.06405, NeurIPS 2022)."""

from __future__ import annotations

from auricle.audio.frontends.presets import preset
from auricle.audio.ops.wave_ops import WaveGainConfig, WaveRollConfig
from auricle.audio.view_plan import ViewPlanConfig
from auricle.corpus.loader import LoaderConfig
from auricle.corpus.windows import WindowConfig
from auricle.encoders.spectrogram_layouts import layout
from auricle.objectives.masks.samplers import RandomMask
from auricle.objectives.predictive.heads import LinearHeadConfig
from auricle.objectives.predictive.masked_prediction import MaskedPredictionConfig
from auricle.objectives.predictive.terms import RegressionConfig
from auricle.objectives.predictive.window_decoder import WindowDecoderConfig
from auricle.objectives.targets.inputs import PatchTargetConfig
from auricle.recipes import Method, Notes, Recipe, Reference, small_scale
from auricle.recipes.notes import PADDED, searched
from auricle.training.train_config import TrainConfig

AUDIO_MAE = Method(
    name="audio-mae",
    paradigm="reconstruction",
    summary="Audio-MAE: encode a fifth of the patches; a decoder with local windows reconstructs the others.",
    learns="tests/learning/test_learn_audio_mae.py",
)
NOTES = Notes(
    method="audio-mae",
    reference=Reference(
        title="Masked Autoencoders that Listen",
        authors="Po-Yao Huang, Hu Xu, Juncheng Li, Alexei Baevski, Michael Auli, Wojciech Galuba, Florian Metze, "
        "Christoph Feichtenhofer",
        arxiv="2207.06405",
        section="3 (method), 4.1 (set-up), and numbers of the released code",
    ),
    faithful=(
        "80 % of the patches masked at random, dropped before the encoder",
        "decoder of window attention, 4 x 4 patches, shifted by two time steps in every second block: the blocks of "
        "Swin V2 that the released code has (norm after each branch, cosines over a learned temperature, biases by a "
        "small map of offsets)",
        "squared error of patches that are standardised one by one, on masked patches only",
        "circular roll and gain Beta(10, 10) + 0.5 on the waveform; class token; first weights Xavier-uniform",
        "fixed sin-cos positions; the paper size takes them from the transposed grid, as the released code does",
    ),
    not_specified=searched(
        "paper, released code",
        "the epoch is counted as 2 million clips: copies of AudioSet differ (chosen)",
        "the clip vector: the mean over patches (chosen)",
    ),
    cost="a fifth of the patches in the encoder; the decoder works on all, in windows: linear in their number",
    when_to_use="general sounds on a fixed window, fine-tuned afterwards: its vectors need more training than a linear "
    "probe; cheap for long windows",
)

# Steps of an epoch of AudioSet (2 M clips) at a batch of 512.
_EPOCH = 3906


@AUDIO_MAE.size("paper")
def audio_mae_paper() -> Recipe:
    """ViT-B on 10.24 s, 33 epochs of AudioSet."""
    return Recipe(
        name="audio-mae",
        size="paper",
        notes=NOTES.with_deviations(PADDED),
        measure_statistics=False,
        frontend=preset("kaldi128"),
        augment=ViewPlanConfig(wave=(WaveRollConfig(), WaveGainConfig(beta=10.0))),
        encoder=layout("audio_mae", "base", frames=1024, position_init_grid="released"),
        objective=MaskedPredictionConfig(
            mask=RandomMask(ratio=0.8),
            hide="drop",
            decoder=WindowDecoderConfig(position_grid="released"),
            terms=(
                RegressionConfig(
                    PatchTargetConfig(norm="patch"),
                    LinearHeadConfig(init="xavier_uniform"),
                    measure="l2",
                    name="patch_mse",
                ),
            ),
        ),
        window=WindowConfig(seconds=10.24, short="pad"),
        loader=LoaderConfig(batch=512, workers=-1),
        train=TrainConfig(
            steps=33 * _EPOCH, warmup_steps=3 * _EPOCH, lr=4e-4, betas=(0.9, 0.95), weight_decay=1e-4, save_every=_EPOCH
        ),
    )


_GRID = "positions lie on the grid of time and frequency; released code: on the transposed grid"


@AUDIO_MAE.size("tiny")
def audio_mae_tiny() -> Recipe:
    """Small scale: width 192 on 2.56 s, 1500 steps."""
    paper = audio_mae_paper()
    return paper.replace(
        size="tiny",
        notes=NOTES.with_deviations(
            "encoder of width 192 on 2.56 s, decoder of 2 blocks of width 128; published: width 768 on 10.24 s, 16 "
            "blocks of 512",
            "batch 64 for 1500 steps at 5e-4; published: batch 512 for 33 epochs of AudioSet at 4e-4",
            _GRID,
            *small_scale.DEVIATIONS,
        ),
        measure_statistics=True,
        encoder=layout("audio_mae", "tiny", frames=256),
        objective=paper.objective.replace(decoder=WindowDecoderConfig(width=128, depth=2, heads=4)),
        window=small_scale.window(2.56),
        loader=small_scale.loader(64),
        train=small_scale.train(1500, 5e-4, betas=(0.9, 0.95), weight_decay=1e-4),
    )


@AUDIO_MAE.size("small")
def audio_mae_small() -> Recipe:
    """Width 384 on 5.12 s, batch 128 for 10,000 steps."""
    notes = NOTES.with_deviations(
        "encoder of width 384 on 5.12 s, decoder of 4 blocks of width 256; published: width 768 on 10.24 s, 16 blocks "
        "of 512",
        "batch 128 for 10,000 steps at 5e-4; published: batch 512 for 33 epochs of AudioSet at 4e-4",
        _GRID,
        *small_scale.DEVIATIONS,
    )
    tiny = audio_mae_tiny()
    return small_scale.grown(
        tiny,
        notes,
        batch=128,
        steps=10_000,
        micro_batch=32,
        window=small_scale.window(5.12),
        encoder=layout("audio_mae", "small", frames=512),
        objective=tiny.objective.replace(decoder=WindowDecoderConfig(width=256, depth=4, heads=8)),
    )

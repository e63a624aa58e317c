"""w2v-BERT: the contrast of wav2vec 2.0 half-way up, and a prediction of the same codes at the top (2108.06209)."""

from __future__ import annotations

from auricle.audio.frontends.presets import preset
from auricle.audio.views import PlainViewsConfig
from auricle.corpus.loader import LoaderConfig
from auricle.corpus.windows import WindowConfig
from auricle.encoders.conformer import ConformerConfig
from auricle.objectives.contrastive.quantised_contrast import QuantisedContrastConfig
from auricle.objectives.masks.spans import BernoulliSpanMask
from auricle.objectives.predictive.decoder import NoDecoderConfig
from auricle.objectives.predictive.masked_prediction import MaskedPredictionConfig
from auricle.objectives.predictive.stem_penalty import StemPenaltyConfig
from auricle.objectives.targets.code_uses import CodeDiversityConfig, CodeLabelsConfig
from auricle.objectives.targets.learned_codes import LearnedCodesConfig, TemperatureConfig
from auricle.recipes import Method, Notes, Recipe, Reference, small_scale
from auricle.recipes.methods.discrete_tokens.best_rq import CORPUS_BINS
from auricle.recipes.notes import searched
from auricle.training.train_config import TrainConfig

W2V_BERT = Method(
    name="w2v-bert",
    paradigm="discrete tokens",
    summary="w2v-BERT: middle layers contrast learned codes of masked frames, the top layers predict the same codes.",
)
NOTES = Notes(
    method="w2v-bert",
    reference=Reference(
        title="w2v-BERT: Combining Contrastive Learning and Masked Language Modeling for Self-Supervised Speech "
        "Pre-Training",
        authors="Chung, Zhang, Han, Chiu, Qin, Pang, Wu",
        arxiv="2108.06209",
        section="3; mask, noise and the contrast's constants as re-implemented in WeNet",
    ),
    faithful=(
        "one quantiser of the unmasked subsampled features, shared: its codes are contrasted at the middle layer and "
        "predicted, as labels without gradient, at the top",
        "spans of 10 tokens that start with probability 0.065; masked tokens are normal noise of std 0.1",
        "both losses and the diversity of 0.1 with equal weights (beta = gamma = 1); as re-implemented, the weight of "
        "the prediction rises from 0.1 to 1 over the warm-up, and a penalty of 0.01 holds the features' mean square "
        "(paper)",
    ),
    deviations=("codes of the quantiser enter the contrast straight through; re-implementation: as a soft mixture",),
    not_specified=searched(
        "paper, re-implementation in WeNet",
        "the temperatures: those of wav2vec 2.0 for the codes and for the contrast (0.1)",
        "normalisation of features before the quantiser: each token, over its channels",
        "learning rate, warm-up and length of crops: 5e-4, 25,000 steps and 16 s; the optimiser is AdamW",
        "relative positions in attention: none, as in BigSSL's XL size",
    ),
    cost="One pass of the encoder for both losses; the quantiser works on a quarter of the frames. Predicting codes "
    "costs one linear layer of the masked frames.",
    when_to_use="For speech with a Conformer, when one stage of training must suffice and codes are wanted as well. "
    "Watch both losses: labels follow the codes, which move as long as the subsampling learns.",
)


def _objective(
    middle: int, contrast_dim: int, distractors: int, entries: int, width: int, temperature_factor: float, ramp: int = 0
) -> MaskedPredictionConfig:
    """Return both losses; `middle` is the layer of the contrast, `ramp` the steps of the prediction's rising weight."""
    codes = LearnedCodesConfig(
        uses=(
            QuantisedContrastConfig(source=f"layer {middle}", dim=contrast_dim, distractors=distractors),
            CodeDiversityConfig(weight=0.1),
            CodeLabelsConfig(source="encoder", weight=1.0, ramp_steps=ramp),
        ),
        groups=1,
        entries=entries,
        width=width,
        temperature=TemperatureConfig(first=2.0, end=0.5, factor=temperature_factor),
        dropout=0.0,
    )
    return MaskedPredictionConfig(
        mask=BernoulliSpanMask(start=0.065, length=10),
        hide="token",
        fill="noise",
        fill_std=0.1,
        decoder=NoDecoderConfig(),
        terms=(codes, StemPenaltyConfig(of="tokens", weight=0.01, name="feature_penalty")),
    )


@W2V_BERT.size("paper")
def w2v_bert_paper() -> Recipe:
    """The XL model: 24 blocks of width 1024, 400,000 steps."""
    return Recipe(
        name="w2v-bert",
        size="paper",
        notes=NOTES,
        measure_statistics=False,
        frontend=preset("asr80"),
        augment=PlainViewsConfig(),
        window=WindowConfig(seconds=16.0, short="pad"),
        loader=LoaderConfig(batch=2048, workers=-1),
        encoder=ConformerConfig.size("xl"),
        objective=_objective(
            middle=12, contrast_dim=1024, distractors=100, entries=1024, width=1024, temperature_factor=0.999995,
            ramp=25_000,
        ),
        train=TrainConfig(
            steps=400_000, warmup_steps=25_000, lr=5e-4, schedule="inverse_sqrt", betas=(0.9, 0.98),
            weight_decay=0.01, precision="bf16", save_every=5000,
        ),
    )  # fmt: skip


@W2V_BERT.size("tiny")
def w2v_bert_tiny() -> Recipe:
    """Small scale: 6 blocks of width 144, 2500 steps."""
    return w2v_bert_paper().replace(
        size="tiny",
        notes=NOTES.with_deviations(
            *small_scale.LAYERS_DEVIATIONS,
            CORPUS_BINS,
            "encoder: a Conformer 144 wide of 6 layers, contrast at layer 3; published: 1024 wide, 12 and 12 layers",
            "windows of 2.56 s in batches of 32; published: a batch of 2048 utterances",
            "128 codes of width 128, 50 distractors; published: 1024 of width 1024, 100",
            "the temperature falls by a factor of 0.999 per step, to reach 0.5 in a short run",
            "constant weight of the prediction; re-implementation: rising from 0.1 to 1 over the warm-up",
        ),
        measure_statistics=True,
        frontend=preset("asr80_corpus"),
        window=small_scale.window(2.56),
        loader=small_scale.loader(32),
        features=small_scale.FEATURES,
        encoder=ConformerConfig.size("tiny", depth=6),
        objective=_objective(
            middle=3, contrast_dim=144, distractors=50, entries=128, width=128, temperature_factor=0.999
        ),
        train=small_scale.train(2500, 5e-4, betas=(0.9, 0.98)),
    )

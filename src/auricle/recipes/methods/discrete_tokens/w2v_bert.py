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
from auricle.objectives.targets.code_uses import CodeDiversityConfig, CodeLabelsConfig
from auricle.objectives.targets.learned_codes import LearnedCodesConfig, TemperatureConfig
from auricle.recipes import small_scale
from auricle.recipes.recipe import Recipe, Reference, recipe
from auricle.training.train_config import TrainConfig

REFERENCE = Reference(
    title="w2v-BERT: Combining Contrastive Learning and Masked Language Modeling for Self-Supervised Speech "
    "Pre-Training",
    authors="Chung, Zhang, Han, Chiu, Qin, Pang, Wu",
    arxiv="2108.06209",
    section="3; mask, noise and the contrast's constants as re-implemented in WeNet",
)


@recipe("w2v-bert", sizes=("tiny", "paper"), paradigm="discrete tokens")
def w2v_bert(size: str = "tiny") -> Recipe:
    """w2v-BERT: middle layers contrast learned codes of hidden steps, the top layers name the same codes.

    Args:
        size: `paper` has the constants of the XL model; `tiny` is for hours of audio and two cores.
    """
    paper = size == "paper"
    middle, entries, steps = (12, 1024, 100) if paper else (3, 128, 50)
    codes = LearnedCodesConfig(
        uses=(
            QuantisedContrastConfig(source=f"layer {middle}", dim=1024 if paper else 144, distractors=steps),
            CodeDiversityConfig(weight=0.1),
            CodeLabelsConfig(source="encoder", weight=1.0),
        ),
        groups=1,
        entries=entries,
        width=1024 if paper else 128,
        temperature=TemperatureConfig(first=2.0, end=0.5, factor=0.999995 if paper else 0.999),
        dropout=0.0,
    )
    return Recipe(
        name="w2v-bert",
        size=size,
        reference=REFERENCE,
        deviations=() if paper else (
            *small_scale.DEVIATIONS,
            "encoder: a Conformer 144 wide of 6 layers, contrast at layer 3; published: 1024 wide, 12 and 12 layers",
            "windows of 2.56 s in batches of 32; published: a batch of 2048 utterances",
            "128 codes of width 128, 50 distractors; published: 1024 of width 1024, 100",
            "the temperature falls by a factor of 0.999 per step, to reach 0.5 in a short run",
        ),
        kept=(
            "one quantiser of the unmasked subsampled features, shared: its codes are contrasted at the middle layer "
            "and named, as labels without gradient, at the top",
            "spans of 10 tokens that start with probability 0.065; hidden tokens are normal noise of std 0.1",
            "both losses and the diversity of 0.1 with equal weights (beta = gamma = 1)",
        ),
        unknown=(
            "the temperatures: those of wav2vec 2.0 for the codes and for the contrast (0.1)",
            "whether features are normalised before they are quantised: each token is, over its channels",
            "learning rate, warm-up and length of crops: 5e-4, 25,000 steps and 16 s; the optimiser is AdamW",
            "relative positions in attention: none, as BigSSL's XL size has them",
        ),
        cost="One pass of the encoder for both losses; the quantiser works on a quarter of the frames. Naming codes "
        "costs one linear layer of the hidden steps.",
        choose="For speech with a Conformer, when one stage of training must do and codes are wanted as well. Watch "
        "both losses: labels follow the codes, which move as long as the subsampling learns.",
        measure_statistics=False,
        frontend=preset("asr80"),
        augment=PlainViewsConfig(),
        window=WindowConfig(seconds=16.0, short="pad") if paper else small_scale.window(2.56),
        loader=LoaderConfig(batch=2048, workers=-1) if paper else small_scale.loader(32),
        encoder=ConformerConfig.size("xl") if paper else ConformerConfig.size("tiny", depth=6),
        objective=MaskedPredictionConfig(
            mask=BernoulliSpanMask(start=0.065, length=10),
            hide="token",
            fill="noise",
            fill_std=0.1,
            decoder=NoDecoderConfig(),
            terms=(codes,),
        ),
        train=TrainConfig(
            steps=400_000, warmup_steps=25_000, lr=5e-4, schedule="inverse_sqrt", betas=(0.9, 0.98),
            weight_decay=0.01, precision="bf16", save_every=5000,
        ) if paper else small_scale.train(2500, 5e-4, betas=(0.9, 0.98)),
    )  # fmt: skip

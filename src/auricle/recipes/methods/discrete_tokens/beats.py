"""BEATs: codes of patches, from a tokenizer that learns from the model before (arXiv 2212.09058, ICML 2023)."""

from __future__ import annotations

from auricle.audio.frontends.presets import preset
from auricle.audio.views import PlainViewsConfig
from auricle.corpus.loader import LoaderConfig
from auricle.corpus.windows import WindowConfig
from auricle.encoders.beats import BEATsConfig
from auricle.encoders.coding_encoder import CodingEncoderConfig
from auricle.encoders.parts.quantisers.codebook import CodebookConfig
from auricle.objectives.masks.samplers import RandomMask
from auricle.objectives.predictive.decoder import TransformerDecoderConfig
from auricle.objectives.predictive.masked_prediction import MaskedPredictionConfig
from auricle.objectives.predictive.terms import CodeConfig
from auricle.objectives.targets.previous_codes import PreviousCodesTargetConfig
from auricle.objectives.targets.previous_encoder import PreviousEncoderConfig
from auricle.objectives.targets.projections import RandomProjectionTargetConfig
from auricle.objectives.targets.tokenizer_distillation import TokenizerDistillationConfig
from auricle.recipes import small_scale
from auricle.recipes.recipe import Recipe, Reference, recipe
from auricle.training.train_config import TrainConfig

REFERENCE = Reference(
    title="BEATs: Audio Pre-Training with Acoustic Tokenizers",
    authors="Chen, Wu, Wang, Liu, Tompkins, Chen, Che, Yu, Wei",
    arxiv="2212.09058",
    section="3, 4.1; encoder, quantiser and front end as in the released code (which does not pre-train)",
)
_ALWAYS = (
    "positions: visible patches enter the position convolution with zeros in the gaps, and relative distances are "
    "those of the original places",
    "a code that no token chose for 20 steps is moved to a token of the batch",
    "k-means for the first codes runs on some thousand tokens before the first step",
)
_TINY = (
    *small_scale.DEVIATIONS,
    "encoder and tokenizer: 8 blocks of width 192; published: 12 of width 768",
    "predictor and estimator of one and two blocks of width 192; 256 codes of 64 dimensions in the tokenizer, "
    "published 1024 of 256",
    "windows of 2.56 s in batches of 32; published: 10 s, 5.6 hours in a batch",
    "of 4 random projections the one whose codes are used most evenly",
)
_UNKNOWN = (
    "optimiser and warm-up: AdamW with weight decay 0.01 here, 32,000 steps of warm-up, then a linear fall (paper)",
    "depth of the predictor: 3 blocks, like the estimator (paper); how patches are normalised for the random "
    "projection: not at all here, which makes a perplexity of 42 of 1024 codes on 16,000 real patches. Each of the 256 "
    "values standardised over the clip makes 98, each patch by itself 310, but in short trainings nothing was learnt "
    "of such codes but the row of a patch",
    "how long tokenizers train: as long as models; whether the commitment is a sum or a mean over the 256 dimensions: "
    "a sum here",
)
_COST = (
    "A step of a model encodes a quarter of the patches; a step of a tokenizer all of them, and runs the model before "
    "beside it; codes of a tokenizer cost its forward pass over the whole clip in every step of the next model. Each "
    "iteration trains two networks, one after the other."
)


def _size(size: str) -> str:
    return "base" if size == "paper" else "tiny"


def _stage(name: str, size: str, steps: int) -> Recipe:
    """Return what all stages share."""
    paper = size == "paper"
    return Recipe(
        name=name,
        size=size,
        reference=REFERENCE,
        deviations=_ALWAYS if paper else (*_ALWAYS, *_TINY),
        unknown=_UNKNOWN,
        cost=_COST,
        measure_statistics=not paper,
        frontend=preset("beats128"),
        augment=PlainViewsConfig(),
        encoder=BEATsConfig.size(_size(size)),
        window=WindowConfig(seconds=10.0, short="pad") if paper else small_scale.window(2.56),
        loader=LoaderConfig(batch_seconds=20_160.0) if paper else small_scale.loader(32),
        train=TrainConfig(
            steps=400_000, warmup_steps=32_000, lr=5e-4, min_lr=0.0, schedule="linear", betas=(0.9, 0.98),
            weight_decay=0.01, precision="bf16", save_every=5000,
        ) if paper else small_scale.train(steps, 1e-3, betas=(0.9, 0.98), weight_decay=0.01),
    )  # fmt: skip


def _predicts(size: str, target: RandomProjectionTargetConfig | PreviousCodesTargetConfig) -> MaskedPredictionConfig:
    paper = size == "paper"
    predictor = TransformerDecoderConfig(768, 3, 12) if paper else TransformerDecoderConfig(192, 1, 3)
    return MaskedPredictionConfig(
        mask=RandomMask(ratio=0.75), hide="drop", decoder=predictor, terms=(CodeConfig(target),)
    )


def _previous(previous: Recipe) -> PreviousEncoderConfig:
    return PreviousEncoderConfig(encoder=previous.encoder, frontend=previous.frontend)


@recipe("beats-iter1", sizes=("tiny", "paper"), paradigm="discrete tokens")
def beats_iter1(size: str = "tiny") -> Recipe:
    """BEATs, first iteration: predict codes that a random projection gives to hidden patches.

    Args:
        size: `paper` has the published constants; `tiny` is for hours of audio and two cores.
    """
    tried = 1 if size == "paper" else 4
    return _stage("beats-iter1", size, 800).replace(
        kept=(
            "75 % of the 16 x 16 patches hidden at random, only the others encoded; a predictor with mask tokens",
            "a random projection to 256 dimensions and 1024 random codes, never trained; cross-entropy on hidden "
            "patches",
            "Kaldi's 128 log-mel bins of the waveform times 2^15; gated relative bias, DeepNorm",
        ),
        choose="As a first stage; by itself it is BEST-RQ on patches, the cheapest way to predict codes of any sound.",
        objective=_predicts(size, RandomProjectionTargetConfig(codes=1024, dim=256, norm="none", seeds=tried)),
    )


@recipe("beats-tokenizer", sizes=("tiny", "paper"), paradigm="discrete tokens")
def beats_tokenizer(size: str = "tiny", iteration: int = 1) -> Recipe:
    """BEATs' tokenizer: codes from which a small network can tell what the model before hears.

    Args:
        size: `paper` has the published constants; `tiny` is for hours of audio and two cores.
        iteration: of the model that it learns from.
    """
    paper = size == "paper"
    previous = beats_iter1(size) if iteration == 1 else beats(size, iteration)
    estimator = TransformerDecoderConfig(768, 3, 12) if paper else TransformerDecoderConfig(192, 2, 3)
    book = CodebookConfig(codes=1024, dim=256) if paper else CodebookConfig(codes=256, dim=64)
    return _stage("beats-tokenizer", size, 300).replace(
        kept=(
            "the encoder's form with a layer of tanh units and 1024 codes of length 1 behind it (paper)",
            "codes are moving averages (decay 0.99) of what chose them, begun by k-means, the gradient passes straight",
            "a transformer (3 layers, paper) regresses the last layer of the model before from codes alone, by cosine",
        ),
        choose="As the stage between two models; or where audio has to be turned into discrete tokens.",
        previous=previous,
        encoder=CodingEncoderConfig(body=BEATsConfig.size(_size(size)), codebook=book),
        objective=TokenizerDistillationConfig(previous=_previous(previous), estimator=estimator, commitment=1.0),
    )


@recipe("beats", sizes=("tiny", "paper"), paradigm="discrete tokens")
def beats(size: str = "tiny", iteration: int = 0) -> Recipe:
    """BEATs: predict codes of a tokenizer that has learnt from the model before; the stages train one by one.

    Args:
        size: `paper` has the published constants; `tiny` is for hours of audio and two cores.
        iteration: 2 or more; 0: 3 as published, 2 in the tiny size.
    """
    paper = size == "paper"
    iteration = iteration or (3 if paper else 2)
    previous = beats_tokenizer(size, iteration - 1)
    recipe = _stage("beats", size, 800)
    fewer = () if paper else ("two iterations (a random projection, then one tokenizer); published: three",)
    return recipe.replace(
        deviations=(*recipe.deviations, *fewer),
        kept=(
            "75 % of the 16 x 16 patches hidden at random, only the others encoded; a predictor with mask tokens",
            "codes of the tokenizer of the stage before; cross-entropy on hidden patches; every stage begins afresh",
            "Kaldi's 128 log-mel bins of the waveform times 2^15; gated relative bias, DeepNorm",
        ),
        choose="For sounds of all kinds where a discrete target should mean more than how patches look, and where "
        "several trainings one after the other can be afforded.",
        previous=previous,
        objective=_predicts(size, PreviousCodesTargetConfig(_previous(previous))),
    )

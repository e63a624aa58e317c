"""BEATs: codes of patches, from a tokenizer that distils the previous model (arXiv 2212.09058, ICML 2023)."""

from __future__ import annotations

from auricle.encoders.coding_encoder import CodingEncoderConfig
from auricle.encoders.parts.quantisers.codebook import CodebookConfig
from auricle.objectives.predictive.decoder import TransformerDecoderConfig
from auricle.objectives.predictive.terms import CodeConfig
from auricle.objectives.targets.previous_codes import PreviousCodesTargetConfig
from auricle.objectives.targets.previous_encoder import PreviousEncoderConfig
from auricle.objectives.targets.tokenizer_distillation import TokenizerDistillationConfig
from auricle.recipes import Method, Recipe, small_scale
from auricle.recipes.methods.discrete_tokens.beats_iter1 import (
    INPUT,
    MASKED,
    OPTIMISER,
    PREDICTOR,
    TINY,
    TINY_PREDICTOR,
    beats_iter1_paper,
    beats_iter1_tiny,
)
from auricle.recipes.methods.discrete_tokens.beats_iter1 import NOTES as FIRST_NOTES
from auricle.recipes.notes import searched

TOKENIZER = Method(
    name="beats-tokenizer",
    paradigm="discrete tokens",
    summary="BEATs' tokenizer: codes from which a small network regresses the previous model's output.",
    learns="tests/learning/test_learn_beats.py",
)
BEATS = Method(
    name="beats",
    paradigm="discrete tokens",
    summary="BEATs: predict codes of a tokenizer that distils the previous model; the stages train one by one.",
    learns="tests/learning/test_learn_beats.py",
)
_TINY_CODES = (
    "256 codes of 64 dimensions in the tokenizer, each a moving average of decay 0.9 that is moved to a token of the "
    "batch after 3 steps without one; the model's output is standardised by dimension (published: 1024 of 256, decay "
    "0.99, the output as it is)"
)

TOKENIZER_NOTES = FIRST_NOTES.replace(
    method="beats-tokenizer",
    faithful=(
        "the encoder's form with a layer of tanh units and 1024 codes of length 1 behind it (paper)",
        "codes are moving averages (decay 0.99, paper) of the tokens that chose them, begun by k-means; "
        "straight-through gradient; the commitment is their mean squared error",
        "a transformer (3 layers, paper) regresses the previous model's last layer from codes alone, by cosine",
        INPUT,
    ),
    deviations=(
        "a code that no token chose for 20 steps is moved to a token of the batch",
        "k-means for the first codes runs on some thousand tokens before the first step",
        "no dropout in the tokenizer: codes that differ by its noise only are one code when they are used",
    ),
    not_specified=searched(
        "paper, released code, which does not pre-train",
        OPTIMISER,
        "length of a tokenizer's training: as long as a model's (paper)",
    ),
    cost="A step encodes all patches, and runs the previous model as well, without gradient.",
    when_to_use="As the stage between two models; or where audio is to be turned into discrete tokens.",
)
NOTES = FIRST_NOTES.replace(
    method="beats",
    faithful=(
        MASKED,
        "codes of the previous stage's tokenizer; cross-entropy on masked patches; every stage begins with fresh "
        "weights",
        INPUT,
    ),
    not_specified=searched("paper, released code, which does not pre-train", OPTIMISER, PREDICTOR),
    cost="A step encodes a quarter of the patches; the tokenizer's codes cost its forward pass over the whole clip. "
    "Each iteration trains two networks, one after the other.",
    when_to_use="For sounds of all kinds where a discrete target should capture more than the look of patches, and "
    "where several runs one after the other are affordable.",
)


def _previous(stage: Recipe) -> PreviousEncoderConfig:
    return PreviousEncoderConfig(encoder=stage.encoder, frontend=stage.frontend)


def _tokenizer_of(model: Recipe, codebook: CodebookConfig, estimator: TransformerDecoderConfig) -> Recipe:
    """Return the tokenizer that distils a model, without the notes of its size."""
    return model.replace(
        name="beats-tokenizer",
        notes=TOKENIZER_NOTES,
        previous=model,
        encoder=CodingEncoderConfig(body=model.encoder.replace(dropout=0.0, attention_dropout=0.0), codebook=codebook),
        objective=TokenizerDistillationConfig(
            previous=_previous(model), estimator=estimator, commitment=1.0, commitment_dims="mean"
        ),
    )


def _tokenizer_paper(model: Recipe) -> Recipe:
    return _tokenizer_of(model, CodebookConfig(codes=1024, dim=256), TransformerDecoderConfig(768, 3, 12))


@TOKENIZER.size("paper")
def beats_tokenizer_paper() -> Recipe:
    """The first tokenizer: 1024 codes of 256 dimensions."""
    return _tokenizer_paper(beats_iter1_paper())


@TOKENIZER.size("tiny")
def beats_tokenizer_tiny() -> Recipe:
    """Small scale: 256 codes of 64 dimensions, 300 steps."""
    model = beats_iter1_tiny()
    codebook = CodebookConfig(codes=256, dim=64, decay=0.9, patience=3)
    made = _tokenizer_of(model, codebook, TransformerDecoderConfig(192, 2, 3))
    return made.replace(
        objective=made.objective.replace(standardise=True),
        notes=TOKENIZER_NOTES.with_deviations(
            *TINY, _TINY_CODES, "estimator of two blocks of width 192; published: three layers"
        ),
        train=small_scale.train(300, 1e-3, betas=(0.9, 0.98), weight_decay=0.01),
    )


def _model_after(tokenizer: Recipe, model: Recipe) -> Recipe:
    """Return a model like another one that predicts the codes of a tokenizer."""
    return model.replace(
        name="beats",
        notes=NOTES,
        previous=tokenizer,
        objective=model.objective.replace(terms=(CodeConfig(PreviousCodesTargetConfig(_previous(tokenizer))),)),
    )


@BEATS.size("paper")
def beats_paper() -> Recipe:
    """Three iterations: five stages in all."""
    first = beats_iter1_paper()
    second = _model_after(_tokenizer_paper(first), first)
    return _model_after(_tokenizer_paper(second), second)


@BEATS.size("tiny")
def beats_tiny() -> Recipe:
    """Small scale: two iterations, three stages in all."""
    return _model_after(beats_tokenizer_tiny(), beats_iter1_tiny()).replace(
        notes=NOTES.with_deviations(
            *TINY,
            TINY_PREDICTOR,
            _TINY_CODES,
            "two iterations (a random projection, then one tokenizer); published: three",
        )
    )

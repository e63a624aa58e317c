"""data2vec 2.0 on samples: many clones of a clip predict a slow teacher's latents (arXiv 2212.07525)."""

from __future__ import annotations

from auricle.encoders.waveform_transformer import WaveformTransformerConfig
from auricle.objectives.masks.blocks import InverseBlockMask
from auricle.objectives.masks.spans import SpanMask
from auricle.objectives.predictive.conv_decoder import Conv1dDecoderConfig
from auricle.objectives.predictive.teacher import TeacherConfig
from auricle.recipes import Method, Notes, Recipe, Reference, small_scale
from auricle.recipes.methods.teacher_student.data2vec import (
    ADAM,
    DITHERED,
    SMALL,
    SMALL_ENCODER,
    TARGET,
    TOP_LAYERS,
    data2vec_paper,
    data2vec_tiny,
)

DATA2VEC2 = Method(
    name="data2vec2",
    paradigm="teacher-student",
    summary="data2vec 2.0: encode the visible tokens of eight clones of a clip; a small decoder predicts the others.",
    learns="tests/learning/test_learn_data2vec.py",
)
NOTES = Notes(
    method="data2vec2",
    reference=Reference(
        title="Efficient Self-supervised Learning with Contextualized Target Representations",
        authors="Baevski et al.",
        arxiv="2212.07525",
        section="3 and the released configuration for audio",
    ),
    faithful=(
        TARGET,
        "8 clones of a clip and one pass of the teacher; noise of 0.01 in masked positions, four convolutions of "
        "kernel 7 as decoder, behind dropout of 0.1 (paper); ALiBi with a learned scale",
        "spans of 5 tokens, a nominal half of them, as the released configuration for audio has it (paper)",
        "the teacher averages the layers behind the stem, position convolutions included",
        "500 s of clips in a batch, decay 0.01, betas of 0.9 and 0.98, epsilon 1e-6, a cosine after 8,000 steps "
        "(paper)",
    ),
    deviations=(
        ADAM,
        DITHERED,
    ),
    cost="a step encodes each clip once whole, without gradient, and its clones at half of their tokens each",
    when_to_use="as data2vec, with a fraction of its steps; needs an encoder that can drop tokens",
)


@DATA2VEC2.size("paper")
def data2vec2_paper() -> Recipe:
    """8 clones, learning rate 7.5e-4, 400,000 steps."""
    base = data2vec_paper()
    return base.replace(
        name="data2vec2",
        notes=NOTES,
        # A million samples on each of 8 devices.
        loader=base.loader.replace(batch_seconds=8 * 1_000_000 / 16_000),
        encoder=WaveformTransformerConfig.size("data2vec2_base"),
        objective=base.objective.replace(
            mask=SpanMask(p=0.5, length=5, min_spans=1),
            hide="drop",
            clones=8,
            decoder=Conv1dDecoderConfig(input_dropout=0.1),
            teacher=TeacherConfig(0.999, 0.99999, steps=75_000, scope="context"),
        ),
        train=base.train.replace(lr=7.5e-4, min_lr=0.0, warmup_steps=8_000, hold_steps=0, schedule="cosine"),
    )


@DATA2VEC2.size("tiny")
def data2vec2_tiny() -> Recipe:
    """Small scale: 4 clones, 700 steps."""
    base = data2vec_tiny()
    return base.replace(
        name="data2vec2",
        notes=NOTES.with_deviations(
            *small_scale.LAYERS_DEVIATIONS,
            *SMALL,
            TOP_LAYERS,
            "the teacher's decay rises from 0.99 to 0.9995 in a shorter run; published: 0.999 to 0.99999",
            "4 clones, a decoder of 2 layers and width 192 without dropout; published: 8, and 4 of 384",
            "inverse blocks of 5 tokens stay visible, half of all (the paper's text); released configuration: masked "
            "spans",
        ),
        encoder=WaveformTransformerConfig.size("tiny", **SMALL_ENCODER, bias="alibi"),
        objective=base.objective.replace(
            mask=InverseBlockMask(ratio=0.5, size=5, adjust=0.05),
            hide="drop",
            clones=4,
            decoder=Conv1dDecoderConfig(width=192, depth=2),
            teacher=TeacherConfig(0.99, 0.9995, scope="context"),
        ),
        train=base.train.replace(steps=700),
    )

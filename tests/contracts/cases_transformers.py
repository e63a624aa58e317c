"""Contract cases of the wrapper around models of transformers."""

from __future__ import annotations

from collections.abc import Callable

from encoder_cases import Case
from tiny_transformers import folder

from auricle.encoders.transformers.encoder import TransformersEncoder, TransformersEncoderConfig


def _build(name: str) -> Callable[[], TransformersEncoder]:
    return lambda: TransformersEncoderConfig(folder(name), local_only=True).build()


def _convolved(samples: int) -> tuple[int, int]:
    for kernel, stride in zip((10, 3, 3, 3, 3, 2, 2), (5, 2, 2, 2, 2, 2, 2), strict=True):
        samples = (samples - kernel) // stride + 1
    return samples, 1


_WAVE = {"longest": 4000, "lengths": (3000, 2999, 1700, 800, 720, 400)}
_NORMED = ("parametrizations.weight.original0", "parametrizations.weight.original1")
_UNUSED = frozenset({"model.masked_spec_embed"})

# Its positions are relative; the convolutional ones stay in the checkpoint, unused.
_CONFORMER = {f"model.encoder.pos_conv_embed.conv.{n}" for n in ("bias", *_NORMED)}

CASES = {
    f"transformers-{name}": Case(_build(name), **_WAVE, grid=_convolved, unused=_UNUSED)  # type: ignore[arg-type]
    for name in ("wav2vec2", "wav2vec2-layer", "hubert", "wavlm", "wavlm-layer", "unispeech-sat", "data2vec")
} | {
    "transformers-conformer": Case(_build("conformer"), **_WAVE, grid=_convolved, unused=_UNUSED | _CONFORMER),  # type: ignore[arg-type]
    "transformers-adapter": Case(
        _build("wav2vec2-adapter"), longest=4000, lengths=(3000, 2999, 1700, 800), unused=_UNUSED
    ),
    "transformers-sew": Case(_build("sew"), longest=4000, lengths=(3000, 2999, 1700, 800), unused=_UNUSED),
    "transformers-ast": Case(_build("ast"), longest=8000, lengths=(6000, 5999, 560, 20)),
    "transformers-whisper": Case(
        _build("whisper"),
        longest=8000,
        lengths=(6000, 5999, 321, 1),
        grid=lambda n: ((n + 319) // 320, 1),
        unused=frozenset({"model.embed_positions.weight"}),
    ),
    "transformers-clap": Case(_build("clap-short"), longest=24000, lengths=(20000, 19999, 2000, 700)),
    "transformers-bert": Case(_build("bert"), longest=8000, lengths=(6000, 5999, 3200, 1600), unused=_UNUSED),
}

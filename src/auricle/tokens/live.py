"""Tokens of audio in memory, with the numbers that a cache on disk would hold."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from auricle.audio.batch import Audio
from auricle.encoders.frozen import FrozenEncoder
from auricle.errors import AudioError, Reason
from auricle.tokens.extract import encode_clips
from auricle.tokens.token_set import TokenSet
from auricle.tokens.writer import ClipTokens


def live_tokens(
    encoder: FrozenEncoder, audio: Audio, layers: Sequence[int] | None = None, *, name: str = ""
) -> TokenSet:
    """Return the tokens of a batch of clips, rounded as in a cache: a probe scores them as it scored cached ones.

    Args:
        encoder: the frozen encoder.
        audio: at the encoder's rate.
        layers: to stack, see `auricle.tokens.cache.TokenCache.select`; None: the encoder's output alone.
        name: recorded as the encoder of the tokens; "": the encoder's fingerprint.

    Raises:
        AudioError: a clip is too short for a token, or its tokens are not finite.
    """
    clips: list[ClipTokens] = []
    for place, clip in enumerate(encode_clips(encoder, audio, layers)):
        if isinstance(clip, Reason):
            raise AudioError(f"clip {place}: {clip}; pass longer clips, or pad them with zeros", cause=clip.cause)
        clips.append(clip)
    numbers = (encoder.depth,) if layers is None else tuple(layers)
    sets = [_layer(clips, place, number, name or encoder.fingerprint) for place, number in enumerate(numbers)]
    return sets[0] if layers is None else TokenSet.of_layers(sets)


def _layer(clips: Sequence[ClipTokens], place: int, layer: int, encoder: str) -> TokenSet:
    counts = np.array([len(clip.tokens[place]) for clip in clips], dtype=np.int64)
    rows = np.arange(len(clips), dtype=np.int64)
    cls = np.stack([clip.cls[place] for clip in clips])
    return TokenSet(
        tokens=np.concatenate([clip.tokens[place] for clip in clips]),
        valid=np.concatenate([clip.valid[place] for clip in clips]),
        start=counts.cumsum() - counts,
        time=np.array([clip.time[place] for clip in clips], dtype=np.int64),
        freq=clips[0].freq[place],
        rate=clips[0].rate[place],
        vectors=np.stack([clip.pooled for clip in clips]).astype(np.float32),
        row=rows,
        class_rows=cls if cls.shape[1] else None,
        encoder=encoder,
        layer=layer,
    )

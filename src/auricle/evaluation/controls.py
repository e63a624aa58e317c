"""The controls of an encoder: its own architecture with random weights, and two fixed baselines without learning.

Random weights of an encoder with BatchNorm get running statistics measured on built-in scenes, as those of a trained
encoder are measured when its training ends.

The baselines read 16 kHz audio through one front end each, whatever encoder they are compared with: an encoder's own
front end may normalise away what a baseline measures (each clip, or each band of a clip, to mean 0 and deviation 1).

- *Log-mel statistics*: the filter bank of AST (arXiv 2104.01778): 128 mel bands, frames of 25 ms every 10 ms; mean and
  standard deviation of each band over the clip.
- *MFCC statistics*: Kaldi's 13 coefficients with first and second differences (as for HuBERT's first targets, arXiv
  2106.07447, section IV-A); mean and standard deviation of each over the clip, as in the baseline of ESC-50 (Piczak
  2015, doi 10.1145/2733373.2806390).

Tasks that read tokens (events, sequences) get the same features, averaged over 4 frames (40 ms) and not over the clip.
"""

from __future__ import annotations

from collections.abc import Sequence

from auricle.audio.frontends.frontend import FrontEndConfig
from auricle.audio.frontends.kaldi_fbank import KaldiFbankConfig
from auricle.audio.frontends.mfcc import MfccConfig
from auricle.encoders.frozen import FrozenEncoder
from auricle.encoders.log_mel_statistics import LogMelStatisticsConfig
from auricle.errors import ConfigError
from auricle.evaluation.driver import EvaluatedEncoder
from auricle.results.record import CONTROL_NAMES, CONTROLS, Control
from auricle.training.batch_statistics import settle_control

FRONT_ENDS: dict[Control, FrontEndConfig] = {"log-mel": KaldiFbankConfig(), "mfcc": MfccConfig()}
_FRAMES_PER_TOKEN = 4


def baseline(name: Control) -> EvaluatedEncoder:
    """Return a fixed baseline as an encoder without weights: `log-mel` or `mfcc`.

    Examples:
        >>> baseline("log-mel").encoder.pooled_width, baseline("mfcc").encoder.pooled_width
        (256, 78)
    """
    frontend = FRONT_ENDS[name].build()
    settings = LogMelStatisticsConfig(
        mels=frontend.width, frames_per_token=_FRAMES_PER_TOKEN, frame_rate=frontend.frame_rate
    )
    return EvaluatedEncoder(FrozenEncoder(frontend, settings.build(), name=CONTROLS[name]), name, False)


def controls(
    encoder: FrozenEncoder, names: Sequence[Control] = CONTROL_NAMES, *, seed: int = 0
) -> list[EvaluatedEncoder]:
    """Return the controls of an encoder.

    Args:
        encoder: the evaluated encoder. One whose weights can't be drawn again has no control with random weights, and
            says so in its notes.
        names: `random`, `log-mel` and `mfcc`, or some of them; they are returned in this order.
        seed: of the random weights.
    """
    made: list[EvaluatedEncoder] = []
    if "random" in names and encoder.randomisable:
        # On the CPU until it is needed: the device holds one encoder at a time.
        made.append(EvaluatedEncoder(settle_control(encoder.randomised(seed)).to("cpu"), "random", False))
    return made + [baseline(name) for name in FRONT_ENDS if name in names]


def evaluated_encoders(
    encoders: Sequence[FrozenEncoder | EvaluatedEncoder], add_controls: bool | Sequence[Control]
) -> list[EvaluatedEncoder]:
    """Return the encoders to evaluate and their controls, each once.

    Args:
        encoders: what to evaluate.
        add_controls: the controls by name; True: all, False: none.

    Raises:
        ConfigError: there is no encoder.
    """
    if not encoders:
        raise ConfigError("no encoder to evaluate; expected at least one: pass a run or an encoder")
    names = (CONTROL_NAMES if add_controls else ()) if isinstance(add_controls, bool) else add_controls
    given = [e if isinstance(e, EvaluatedEncoder) else EvaluatedEncoder(e) for e in encoders]
    made = [c for e in given if e.role == "pretrained" for c in controls(e.encoder, names)]
    # Encoders of one architecture share their controls. A stable order: encoders, random weights, baselines.
    made.sort(key=lambda control: CONTROL_NAMES.index(control.role))
    return list({e.encoder.fingerprint: e for e in [*made[::-1], *given[::-1]]}.values())[::-1]

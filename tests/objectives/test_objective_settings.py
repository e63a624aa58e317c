"""Settings that are out of range are refused, naming the class, the field and the value."""

from __future__ import annotations

import re
from typing import Any

import pytest

from auricle.config import Config
from auricle.errors import ConfigError
from auricle.objectives.contrastive.future_contrast import FutureContrastConfig
from auricle.objectives.masks.corruption import CorruptionChainConfig
from auricle.objectives.masks.hidden_stretches import HiddenStretchesConfig
from auricle.objectives.predictive.conv_decoder import Conv1dDecoderConfig
from auricle.objectives.predictive.decoder import TransformerDecoderConfig
from auricle.objectives.predictive.heads import CosineHeadConfig, MlpHeadConfig
from auricle.objectives.predictive.masked_prediction import MaskedPredictionConfig
from auricle.objectives.predictive.slice_reconstruction import SliceReconstructionConfig
from auricle.objectives.predictive.teacher import TeacherConfig
from auricle.objectives.predictive.terms import CodeConfig, RegressionConfig
from auricle.objectives.predictive.window_decoder import WindowDecoderConfig
from auricle.objectives.targets.clusters import KMeansTargetConfig
from auricle.objectives.targets.inputs import FrontEndTargetConfig, PatchTargetConfig
from auricle.objectives.targets.learned_codes import TemperatureConfig
from auricle.objectives.targets.previous_encoder import PreviousEncoderConfig
from auricle.objectives.targets.projections import RandomProjectionTargetConfig
from auricle.objectives.targets.teachers import TeacherTargetConfig
from auricle.objectives.targets.tokenizer_distillation import TokenizerDistillationConfig
from auricle.objectives.text.clap import ClapConfig
from auricle.objectives.text.pretrained_text import PretrainedTextConfig
from auricle.objectives.text.text_tower import WordTowerConfig
from auricle.objectives.workers.pairs import PairWorkerConfig
from auricle.objectives.workers.permutation import PermutationConfig
from auricle.objectives.workers.regression import FrameWorkerConfig, WaveWorkerConfig
from auricle.objectives.workers.temporal_gap import TemporalGapConfig
from auricle.objectives.workers.workers import WorkersConfig

INF = float("inf")


@pytest.mark.parametrize(
    ("config", "field", "value"),
    [
        (FutureContrastConfig, "negatives", 0),
        (FutureContrastConfig, "diversity", -0.1),
        (FutureContrastConfig, "anchors", "any"),
        (HiddenStretchesConfig, "share", 0.0),
        (Conv1dDecoderConfig, "noise", -0.1),
        (TransformerDecoderConfig, "depth", 0),
        (WindowDecoderConfig, "window", 0),
        (CosineHeadConfig, "temperature", 0.0),
        (MlpHeadConfig, "activation", "silu"),
        (MlpHeadConfig, "norm", "batch"),
        (MaskedPredictionConfig, "views", 3),
        (MaskedPredictionConfig, "fill", "mean"),
        (MaskedPredictionConfig, "fill_std", -1.0),
        (SliceReconstructionConfig, "slices", 1),
        (SliceReconstructionConfig, "seconds", 0.0),
        (SliceReconstructionConfig, "statistics", 0),
        (SliceReconstructionConfig, "mode", "bow"),
        (TeacherConfig, "decay", 1.5),
        (TeacherConfig, "end", -0.1),
        (TeacherConfig, "steps", -1),
        (TeacherConfig, "curve", "square"),
        (TeacherTargetConfig, "sight", "none"),
        (KMeansTargetConfig, "least_clips", 0),
        (KMeansTargetConfig, "passes", 0),
        (PatchTargetConfig, "norm", "clip"),
        (FrontEndTargetConfig, "align", "last"),
        (TemperatureConfig, "factor", 1.5),
        (TemperatureConfig, "end", 0.0),
        (RandomProjectionTargetConfig, "codebooks", 0),
        (RandomProjectionTargetConfig, "norm", "clips"),
        (RandomProjectionTargetConfig, "source", "waveform"),
        (ClapConfig, "dim", 0),
        (ClapConfig, "temperature", 0.0),
        (ClapConfig, "same_text", "skip"),
        (PretrainedTextConfig, "tokens", 1),
        (PretrainedTextConfig, "weights", "fresh"),
        (PretrainedTextConfig, "pooling", "max"),
        (WordTowerConfig, "words", 0),
        (WordTowerConfig, "tokens", 1),
        (WordTowerConfig, "dropout", 1.0),
        (WordTowerConfig, "pooling", "last"),
        (PairWorkerConfig, "gap", 0.0),
        (PairWorkerConfig, "hidden", 0),
        (FrameWorkerConfig, "deltas", -1),
        (FrameWorkerConfig, "hidden", 0),
        (PermutationConfig, "slices", 1),
        (PermutationConfig, "noise", 0.0),
        (PermutationConfig, "samples", 0),
        (TemporalGapConfig, "loss", "l1"),
    ],
    ids=lambda part: part.__name__ if isinstance(part, type) else str(part),
)
def test_a_value_out_of_range_is_refused(config: type[Config], field: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=rf"{re.escape(config.prefix())}{field} is {value!r}"):
        config(**{field: value})


@pytest.mark.parametrize(
    ("config", "settings", "words"),
    [
        (RegressionConfig, {"target": PatchTargetConfig(), "weight": INF}, "weight is inf"),
        (RegressionConfig, {"target": PatchTargetConfig(), "weight": float("nan")}, "weight is nan"),
        (RegressionConfig, {"target": PatchTargetConfig(), "source": "layer 0"}, "unknown source 'layer 0'"),
        (CodeConfig, {"target": RandomProjectionTargetConfig(), "where": "clip"}, "where is 'clip'"),
        (TokenizerDistillationConfig, {"previous": PreviousEncoderConfig(), "commitment": -1.0}, "commitment is -1.0"),
        (SliceReconstructionConfig, {"channels": (8,)}, "at least two channels"),
        (SliceReconstructionConfig, {"channels": (8, 0)}, "channels.1 is 0"),
        (ClapConfig, {"largest_scale": 10.0}, "at least 1 / temperature"),
        (ClapConfig, {"columns": ()}, "at least one column"),
        (PretrainedTextConfig, {"model": ""}, "found no model"),
        (WordTowerConfig, {"width": 5}, "multiple of the heads"),
        (WaveWorkerConfig, {"channels": (64, 0, 8)}, "channels.1 is 0"),
        (WaveWorkerConfig, {"name": ""}, "without a name"),
        (WorkersConfig, {"statistics": 0}, "statistics is 0"),
        (CorruptionChainConfig, {"parts": ()}, "parts is empty"),
        (WindowDecoderConfig, {"shift": (4, 0)}, "shifted by"),
    ],
)
def test_settings_that_do_not_fit_are_refused(config: type[Config], settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        config(**settings)

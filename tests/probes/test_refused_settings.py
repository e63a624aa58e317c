"""Settings out of range are refused when they are made, by the name of their field."""

from __future__ import annotations

import math
from typing import Any

import pytest

from auricle.config import Config
from auricle.errors import ConfigError
from auricle.probes import LossConfig, SearchConfig
from auricle.probes.ctc.heads import CtcConfig
from auricle.probes.frames.protobin import FrameProtobinConfig
from auricle.probes.frames.stack import FrameConvConfig, FrameLinearConfig, FrameMlpConfig
from auricle.probes.heads.abmilp import AbmilpConfig
from auricle.probes.heads.cgp import CgpConfig
from auricle.probes.heads.conv import ConvConfig
from auricle.probes.heads.ep import EpConfig
from auricle.probes.heads.jepa import JepaConfig
from auricle.probes.heads.layer_attentive import LayerAttentiveConfig
from auricle.probes.heads.linear import LinearConcatConfig, LinearConfig
from auricle.probes.heads.mhca import MhcaConfig
from auricle.probes.heads.mlp import MlpConfig
from auricle.probes.heads.proto import ProtoConfig
from auricle.probes.heads.protobin import ProtobinConfig
from auricle.probes.heads.simpool import SimPoolConfig


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        (AbmilpConfig, {"depth": 0}),
        (CgpConfig, {"count": 0}),
        (CgpConfig, {"per_class": 0}),
        (CgpConfig, {"dropout": 1.0}),
        (ConvConfig, {"channels": 0}),
        (ConvConfig, {"kernel": 0}),
        (ConvConfig, {"kernel": 2}),
        (CtcConfig, {"beam": 0}),
        (CtcConfig, {"dropout": 1.0}),
        (CtcConfig, {"frame_rate": 0.0}),
        (CtcConfig, {"hidden": 0}),
        (CtcConfig, {"kernel": 4}),
        (CtcConfig, {"rounds": 0}),
        (CtcConfig, {"upsample": 0}),
        (EpConfig, {"d_out": 0}),
        (EpConfig, {"queries": 0}),
        (FrameConvConfig, {"dropout": 1.0}),
        (FrameConvConfig, {"hidden": 0}),
        (FrameConvConfig, {"kernel": 4}),
        (FrameConvConfig, {"layers": 0}),
        (FrameLinearConfig, {"upsample": 0}),
        (FrameMlpConfig, {"layers": 0}),
        (FrameProtobinConfig, {"per_class": 0}),
        (JepaConfig, {"mlp_ratio": 0.0}),
        (LayerAttentiveConfig, {"heads": 0}),
        (LinearConcatConfig, {"bins": 0}),
        (LinearConcatConfig, {"parts": ()}),
        (LossConfig, {"delta": 0.0}),
        (MhcaConfig, {"heads": 0}),
        (MhcaConfig, {"queries": 0}),
        (MlpConfig, {"dropout": 1.0}),
        (MlpConfig, {"hidden": 0}),
        (MlpConfig, {"layers": 0}),
        (ProtoConfig, {"orthogonality": -1.0}),
        (ProtoConfig, {"per_class": 0}),
        (ProtoConfig, {"top_k": 0}),
        (ProtobinConfig, {"dropout": 1.0}),
        (ProtobinConfig, {"per_class": 0}),
        (ProtobinConfig, {"top_k": 0}),
        (SearchConfig, {"epochs": 0}),
        (SearchConfig, {"halving": ((1.5, 0.5),)}),
        (SearchConfig, {"halving": ((0.5, 0.0),)}),
        (SearchConfig, {"lr": ()}),
        (SearchConfig, {"lr": (math.inf,)}),
        (SearchConfig, {"top_k": 0}),
        (SearchConfig, {"trials": 0}),
        (SearchConfig, {"weight_decay": ()}),
        (SimPoolConfig, {"gamma": 0.0}),
    ],
    ids=str,
)
def test_a_number_out_of_range(kind: type[Config], settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=rf"{next(iter(settings))}.* (is|has) .*expected"):
        kind(**settings)


@pytest.mark.parametrize(
    ("kind", "settings", "nearest"),
    [
        (AbmilpConfig, {"activation": "tahn"}, "tanh"),
        (CtcConfig, {"context": "convs"}, "conv"),
        (LinearConcatConfig, {"parts": ("men",)}, "mean"),
        (LinearConfig, {"source": "poled"}, "pooled"),
        (LossConfig, {"name": "hubr"}, "huber"),
        (ProtobinConfig, {"values": "flot"}, "float"),
        (SearchConfig, {"metric": "acuracy"}, "accuracy"),
        (SearchConfig, {"method": "tpee"}, "tpe"),
    ],
    ids=str,
)
def test_an_unknown_choice_names_the_nearest(kind: type[Config], settings: dict[str, Any], nearest: str) -> None:
    with pytest.raises(ConfigError, match=rf"{next(iter(settings))}.*did you mean '{nearest}'"):
        kind(**settings)

"""The probes by name."""

from __future__ import annotations

from auricle.config import nearest
from auricle.errors import ConfigError
from auricle.probes.contract import ProbeConfig
from auricle.probes.heads.abmilp import AbmilpConfig
from auricle.probes.heads.cgp import CgpConfig
from auricle.probes.heads.conv import ConvConfig
from auricle.probes.heads.ep import EpConfig
from auricle.probes.heads.jepa import JepaConfig
from auricle.probes.heads.layer_attentive import LayerAttentiveConfig
from auricle.probes.heads.layer_gated import GatedLinearConfig, WeightedSumConfig
from auricle.probes.heads.linear import LinearConcatConfig, LinearConfig
from auricle.probes.heads.linear_pre import LinearPreConfig
from auricle.probes.heads.mhca import MhcaConfig
from auricle.probes.heads.mlp import MlpConfig
from auricle.probes.heads.proto import ProtoConfig
from auricle.probes.heads.protobin import ProtobinConfig
from auricle.probes.heads.simpool import SimPoolConfig

PROBES: dict[str, ProbeConfig] = {
    # One vector a clip.
    "linear": LinearConfig(),
    "linear_cls": LinearConfig(source="cls"),
    "linear_mean": LinearConfig(source="mean"),
    "linear_time_mean": LinearConfig(source="mean_t_flat_f"),
    "mlp": MlpConfig(),
    # The token map, without attention.
    "linearc": LinearConcatConfig(),
    "linearc_map": LinearConcatConfig(parts=("map",)),
    "conv": ConvConfig(),
    "linpre": LinearPreConfig(),
    "linpre_mean": LinearPreConfig(pool="mean"),
    "linpre_logsumexp": LinearPreConfig(pool="logsumexp"),
    # The token map, by attention.
    "mhca": MhcaConfig(),
    "mhca_raw": MhcaConfig(norm="none"),
    "ep": EpConfig(),
    "simpool": SimPoolConfig(),
    "simpool_gamma": SimPoolConfig(gamma=2.0),
    "abmilp": AbmilpConfig(),
    "abmilp_depth1": AbmilpConfig(depth=1, activation="relu"),
    "jepa": JepaConfig(),
    # The token map, compared with prototypes.
    "proto": ProtoConfig(),
    "protofloat": ProtobinConfig(values="float"),
    "protobin": ProtobinConfig(),
    # All layers of the encoder.
    "cgp": CgpConfig(),
    "gated_linear": GatedLinearConfig(),
    "weighted_sum": WeightedSumConfig(),
    "layer_attentive": LayerAttentiveConfig(),
}


def register_probe(name: str, probe: ProbeConfig) -> None:
    """Add a probe of labelled clips under a name, for example from a plug-in.

    Raises:
        ConfigError: another probe has this name.
    """
    if PROBES.setdefault(name, probe) != probe:
        raise ConfigError(f"two probes are named {name!r}; rename one")


def get_probe(probe: str | ProbeConfig) -> ProbeConfig:
    """Return the settings behind a name.

    Raises:
        ConfigError: the name is unknown.

    Examples:
        >>> get_probe("linear_cls").to_json()
        {'kind': 'LinearConfig', 'source': 'cls', 'normalise': 'train'}
    """
    if isinstance(probe, ProbeConfig):
        return probe
    if probe not in PROBES:
        raise ConfigError(f"unknown probe {probe!r}{nearest(probe, PROBES)}")
    return PROBES[probe]

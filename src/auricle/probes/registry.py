"""The probes by name."""

from __future__ import annotations

from auricle.config import nearest
from auricle.errors import ConfigError
from auricle.probes.contract import ProbeConfig
from auricle.probes.linear import LinearConfig
from auricle.probes.mhca import MhcaConfig
from auricle.probes.protobin import ProtobinConfig

PROBES: dict[str, ProbeConfig] = {
    "linear": LinearConfig(),
    "linear_cls": LinearConfig(source="cls"),
    "linear_mean": LinearConfig(source="mean"),
    "linear_time_mean": LinearConfig(source="mean_t_flat_f"),
    "mhca": MhcaConfig(),
    "protobin": ProtobinConfig(),
}


def get_probe(probe: str | ProbeConfig) -> ProbeConfig:
    """Return the settings behind a name.

    Raises:
        ConfigError: the name is unknown.
    """
    if isinstance(probe, ProbeConfig):
        return probe
    if probe not in PROBES:
        raise ConfigError(f"unknown probe {probe!r}{nearest(probe, PROBES)}")
    return PROBES[probe]

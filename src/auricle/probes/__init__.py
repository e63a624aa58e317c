"""Probes: trained heads on frozen tokens, and the search of their settings."""

from auricle.probes.contract import Labelled, ProbeConfig
from auricle.probes.fitted import FittedProbe, Trial
from auricle.probes.losses import LOSSES, LossConfig, get_loss
from auricle.probes.registry import PROBES, get_probe
from auricle.probes.search.config import SearchConfig
from auricle.probes.search.search import fit_probe, fit_probe_seeds

__all__ = [
    "LOSSES",
    "PROBES",
    "FittedProbe",
    "Labelled",
    "LossConfig",
    "ProbeConfig",
    "SearchConfig",
    "Trial",
    "fit_probe",
    "fit_probe_seeds",
    "get_loss",
    "get_probe",
]

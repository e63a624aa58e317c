"""Studies: a question, a grid of pre-trainings and evaluations that answers it, and statements with a verdict."""

from __future__ import annotations

from auricle.studies import methods
from auricle.studies.study import Study, StudyConfig, get_study, register_study, run_study, studies

__all__ = ["Study", "StudyConfig", "get_study", "methods", "register_study", "run_study", "studies"]

"""All data sets whose place, licence and sums are known, by name."""

from __future__ import annotations

from auricle.corpus import data_music, data_nature_machines, data_sound, data_speech
from auricle.corpus.archive import DataSet

DATA_SETS: dict[str, DataSet] = {
    data.name: data for family in (data_sound, data_speech, data_music, data_nature_machines) for data in family.DATA
}

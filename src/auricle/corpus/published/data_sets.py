"""All known data sets by name: addresses, licences, checksums. Imports neither torch nor pyarrow."""

from __future__ import annotations

from auricle.corpus.published import music, nature_machines, sound, speech
from auricle.corpus.published.archive import DataSet

DATA_SETS: dict[str, DataSet] = {
    data.name: data for family in (sound, speech, music, nature_machines) for data in family.DATA
}

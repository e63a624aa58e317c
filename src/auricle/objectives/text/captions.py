"""The captions of a corpus, and the choice of one for each clip in a step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from auricle.errors import ConfigError


@dataclass(frozen=True)
class CaptionTable:
    """Different texts, and those of each clip.

    Attributes:
        texts: the different captions.
        first: `(clips,)` int64, start of a clip's numbers in `numbers`.
        count: `(clips,)` int64, number of its captions; at least one.
        numbers: `(n,)` int64, places in `texts`, clip after clip.
    """

    texts: tuple[str, ...]
    first: Tensor
    count: Tensor
    numbers: Tensor

    def choose(self, clip: Tensor, uniform: Tensor) -> Tensor:
        """Return the place in `texts` of one caption of each clip `(B,)`.

        Args:
            clip: `(B,)` int64, on the CPU.
            uniform: `(B,)` in [0, 1), chooses among a clip's captions.

        Raises:
            ConfigError: a clip is not in the table.
        """
        if len(clip) and int(clip.max()) >= len(self.count):
            raise ConfigError(
                f"clip {int(clip.max())} has no caption: captions of {len(self.count)} clips are known; pass the "
                "columns of the corpus in training"
            )
        return self.numbers[self.first[clip] + (uniform * self.count[clip]).long()]


def caption_table(columns: Mapping[str, Sequence[object]], names: Sequence[str], template: str = "") -> CaptionTable:
    """Join columns of captions.

    Args:
        columns: values of each clip: a text, several as a list or tuple, or None. Where there is a column `file`,
            messages name clips by it.
        names: of the columns with captions; a clip may have captions in some of them only.
        template: makes a caption of a label: `a sound of {}`; several labels of a clip, separated by `;`, are joined by
            `and`. Empty: the values are captions.

    Raises:
        ConfigError: a clip has no caption at all, or a value is no text.

    Examples:
        >>> caption_table({"label": ["dog;rain", "rain"]}, ["label"], template="a sound of {}").texts
        ('a sound of dog and rain', 'a sound of rain')
    """
    length = min((len(columns[name]) for name in names), default=0)
    places: dict[str, int] = {}
    counts: list[int] = []
    numbers: list[int] = []
    without: list[int] = []
    for clip in range(length):
        own = [text for name in names for text in _texts(columns, name, clip)]
        if template:
            own = [template.format(_spoken(text)) for text in own]
        if not own:
            without.append(clip)
        counts.append(len(own))
        numbers.extend(places.setdefault(text, len(places)) for text in own)
    if without or not length:
        first = f", the first is {_called(without[0], columns)}" if without else ""
        raise ConfigError(
            f"{len(without)} of {length} clips have no caption in {', '.join(names)}{first}: exclude those clips, "
            "name further columns of captions (objective.columns), or make captions of a label column by a "
            "template (objective.template 'a sound of {}')"
        )
    count = torch.tensor(counts)
    return CaptionTable(tuple(places), count.cumsum(0) - count, count, torch.tensor(numbers))


def check_template(template: str) -> None:
    """Refuse a template without exactly one place `{}` for the label.

    Raises:
        ConfigError: quoting the template.
    """
    if template.count("{}") != 1 or template.count("{") != 1 or template.count("}") != 1:
        raise ConfigError(f"found the template {template!r}; expected one place for the label: 'a sound of {{}}'")


def _called(clip: int, columns: Mapping[str, Sequence[object]]) -> str:
    """Return the name of a clip in messages: its file where that is known."""
    files = columns.get("file")
    return f"clip {clip} (counted from 0)" if files is None else f"{files[clip]} (clip {clip}, counted from 0)"


def _texts(columns: Mapping[str, Sequence[object]], name: str, clip: int) -> list[str]:
    value = columns[name][clip]
    several = value if isinstance(value, list | tuple) else [value]
    texts = []
    for each in several:
        if each is None or (isinstance(each, float) and each != each):
            continue
        if not isinstance(each, str):
            raise ConfigError(
                f"column {name!r} holds {type(each).__name__} {each!r} for {_called(clip, columns)}; captions are "
                "texts (or lists of texts): name another column (objective.columns)"
            )
        if each.strip():
            texts.append(each.strip())
    return texts


def _spoken(label: str) -> str:
    return " and ".join(part.strip().replace("_", " ") for part in label.split(";") if part.strip())

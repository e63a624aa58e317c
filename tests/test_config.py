"""What holds for all settings, whatever class they belong to."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import pytest

from auricle.config import Config, flatten
from auricle.errors import ConfigError


@dataclass(frozen=True)
class Plain(Config):
    """Settings without a look of their own."""

    share: float = 0.5
    edges: tuple[tuple[float, ...], ...] = ((0.0, 1.0), (2.0,))
    name: str = "nan"
    limit: float | None = None


@dataclass(frozen=True)
class Looking(Config):
    """Settings that look at themselves, in a way that a NaN would end with a traceback."""

    count: float = 1.0
    inner: Plain = field(default_factory=Plain)

    def __post_init__(self) -> None:
        """Refuse settings out of range."""
        if int(self.count) < 1:
            raise ConfigError(f"found count {self.count}")


@dataclass(frozen=True)
class Further(Looking):
    """Settings that look at themselves after those that they derive from."""

    more: float = 0.0

    def __post_init__(self) -> None:
        """Refuse settings out of range."""
        super().__post_init__()
        if self.more < 0:
            raise ConfigError(f"found more {self.more}")


def test_no_setting_may_be_nan_whatever_class_it_belongs_to() -> None:
    with pytest.raises(ConfigError, match=r"plain\.share is nan.*expected finite numbers"):
        Plain(share=math.nan)
    with pytest.raises(ConfigError, match=r"plain\.edges\.1\.0 is nan"):
        Plain(edges=((0.0,), (math.nan,)))
    with pytest.raises(ConfigError, match=r"looking\.count is nan"):
        Looking(count=math.nan)
    with pytest.raises(ConfigError, match=r"further\.more is nan"):
        Further(more=math.nan)
    with pytest.raises(ConfigError, match=r"plain\.limit is nan"):
        Plain().replace(limit=math.nan)
    with pytest.raises(ConfigError, match=r"plain\.share is nan"):
        Config.from_json(Further().to_json() | {"inner": Plain().to_json() | {"share": math.nan}})


def test_a_class_still_looks_at_its_own_settings() -> None:
    with pytest.raises(ConfigError, match="found count 0"):
        Further(count=0.0)
    with pytest.raises(ConfigError, match="found more -1"):
        Further(more=-1.0)
    assert Further().more == 0
    assert Plain(share=math.inf).share == math.inf


def test_nested_settings_as_dotted_names() -> None:
    data = {
        "kind": "K",
        "terms": [{"kind": "A", "weight": 1.0}, {"kind": "B", "target": {"clusters": 5}}],
        "betas": (0.9, 0.99),
        "layers": [[512, 10], [512, 3]],
        "columns": ["caption"],
        "none": [],
    }
    assert flatten(data) == {
        "kind": "K",
        "terms.0.kind": "A",
        "terms.0.weight": 1.0,
        "terms.1.kind": "B",
        "terms.1.target.clusters": 5,
        "betas": [0.9, 0.99],
        "layers.0": [512, 10],
        "layers.1": [512, 3],
        "columns": ["caption"],
        "none": [],
    }

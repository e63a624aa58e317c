"""Few-shot episodes: classify among a few classes after a few labelled clips of each.

An episode draws N classes, K labelled support clips of each, and some query clips of each that are scored. No source
(recording, speaker) gives clips to both sides of an episode. The episodes are drawn once, before any encoder is
evaluated: every encoder and probe gets the same ones.

Letters in shapes: E episodes, N ways, K shots, Q queries of all classes together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from auricle.errors import CorpusError
from auricle.tasks.few_shot.rule import FewShotRule

Places = NDArray[np.int64]
_TRIES = 50  # orders of the sources that are tried for one episode


@dataclass(frozen=True)
class Episodes:
    """Episodes over n clips, as places of clips.

    Attributes:
        classes: `(E, N)` the classes of each episode, in ascending order.
        support: `(E, N, K)` labelled clips.
        query: `(E, N, Q / N)` clips that are scored.
    """

    classes: Places
    support: Places
    query: Places

    def __len__(self) -> int:
        return len(self.classes)

    def select(self, kept: NDArray[np.bool_]) -> Episodes:
        """Return some of the episodes."""
        return Episodes(self.classes[kept], self.support[kept], self.query[kept])


def draw_episodes(
    labels: Places,
    groups: Sequence[str] | np.ndarray,
    rule: FewShotRule,
    generator: np.random.Generator,
    names: Sequence[str] | None = None,
) -> Episodes:
    """Draw episodes whose two sides share no source.

    For each episode the classes are drawn among those with clips enough; then the sources that hold clips of them are
    assigned in random order: to the support side while one of their classes still lacks shots, then to the query side.

    Args:
        labels: `(n,)` class of each clip.
        groups: `(n,)` source of each clip.
        rule: sizes.
        generator: of all draws.
        names: of the classes, for messages; None: their numbers.

    Raises:
        CorpusError: too few classes have enough clips of enough sources; says which ones lack what.
    """
    members = np.unique(np.asarray(groups), return_inverse=True)[1]
    able: list[tuple[int, int, int]] = []
    lacking: list[tuple[int, int, int]] = []
    for c in np.unique(labels).tolist():
        clips = np.flatnonzero(labels == c)
        sources = len(np.unique(members[clips]))
        enough = len(clips) >= rule.shots + rule.queries and sources >= 2
        (able if enough else lacking).append((c, len(clips), sources))
    if len(able) < rule.ways:
        some = ", ".join(f"{repr(names[c]) if names else c} has {n} clips of {s} sources" for c, n, s in lacking[:5])
        some += f" and {len(lacking) - 5} more" if len(lacking) > 5 else ""
        raise CorpusError(
            f"{len(able)} classes have {rule.shots} + {rule.queries} clips from at least 2 sources, expected at least "
            f"{rule.ways} ({some or 'there are no others'}); lower --rule.ways, --rule.shots or "
            "--rule.queries, or add clips"
        )
    known = np.array([c for c, _, _ in able])
    drawn = [_draw(labels, members, known, rule, generator) for _ in range(rule.episodes)]
    return Episodes(*(np.stack([episode[part] for episode in drawn]) for part in range(3)))


def _draw(
    labels: Places, members: Places, known: Places, rule: FewShotRule, generator: np.random.Generator
) -> tuple[Places, Places, Places]:
    for _ in range(_TRIES):
        classes = np.sort(generator.choice(known, rule.ways, replace=False))
        # (N, sources): clips of each class that each source holds.
        held = np.stack([np.bincount(members[labels == c], minlength=members.max() + 1) for c in classes])
        chosen = _support_sources(held, rule.shots, generator)
        sides = []
        for wanted, side in ((rule.shots, chosen), (rule.queries, ~chosen)):
            pools = [np.flatnonzero((labels == c) & side[members]) for c in classes]
            if min(map(len, pools)) < wanted:
                break
            sides.append(np.stack([generator.choice(pool, wanted, replace=False) for pool in pools]))
        else:
            return classes, sides[0], sides[1]
    raise CorpusError(
        f"no {rule.ways} classes with {rule.shots} shots and {rule.queries} queries of each could be drawn so that no "
        f"source stands on both sides ({_TRIES} tries); lower --rule.shots or --rule.queries, or add "
        "sources"
    )


def _support_sources(held: Places, shots: int, generator: np.random.Generator) -> NDArray[np.bool_]:
    """Return which sources give support clips: each class gets at least so many shots, if it has them."""
    chosen = np.zeros(held.shape[1], dtype=bool)
    have = np.zeros(len(held), dtype=np.int64)
    for source in generator.permutation(np.flatnonzero(held.sum(0))).tolist():
        if ((have < shots) & (held[:, source] > 0)).any():
            chosen[source] = True
            have += held[:, source]
    return chosen

"""The protocols of the evaluation kits as data: HEAR, EVAR, X-ARES, MARBLE and SUPERB, with their quirks.

A number made by one of them can be set beside the numbers that the kit's own users publish. Numbers are those of the
kits' code (HEAR 2021.1.3, EVAR 88ba772, X-ARES 161f0ef, MARBLE v1, s3prl ec8064b). Beside them stands what in the
protocol flatters a score (`leaks`), and what a cache of tokens can't repeat (`notes`).
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Literal

from auricle.config import Config, nearest
from auricle.errors import ConfigError
from auricle.kits.grid import GridPoint
from auricle.kits.head import CompatHeadConfig, CompatLayersHeadConfig
from auricle.kits.training import CompatTraining

FoldMap = Literal["next_validates", "random_validates", "test_validates"]


@dataclass(frozen=True)
class KitCropConfig(Config):
    """What a kit cuts off a clip before the encoder hears it.

    Attributes:
        seconds: length that clips are brought to, or cut to; 0: clips stay whole.
        train: where a training clip is cut: at `random`, or from its `start`.
        pad: shorter clips get zeros at their end.
    """

    seconds: float = 0.0
    train: Literal["random", "start"] = "start"
    pad: bool = False


@dataclass(frozen=True)
class NeighbourConfig(Config):
    """X-ARES's nearest neighbours: cosine, each vote weighed by a softmax over the neighbours' similarities.

    Attributes:
        k: neighbours.
        temperature: of the softmax.
    """

    k: int = 10
    temperature: float = 0.07


@dataclass(frozen=True)
class ProtocolConfig(Config):
    """A kit's protocol.

    Attributes:
        name: of the kit, and of the reader where it has several.
        reader: what results call the head.
        source: the code that the numbers were taken from.
        points: the grid in the kit's order; one point: nothing is searched. Empty where neighbours vote.
        drawn: how many points of the shuffled grid are tried; 0: all, in order.
        draw_seed: of that shuffle (`random.shuffle` of Python).
        choose_once: points are tried on the first fold only, and its best one is used on all (HEAR).
        training: rules of training.
        neighbours: votes instead of a trained head, or None.
        folds: which clips of a fold-wise corpus validate: the `next` fold, `random` training clips, or the `test`
            fold itself. A corpus with its own validation clips keeps them.
        split_test_validates: on an official split all other clips teach, and the test clips themselves validate.
        valid_share: of the training clips that validate at random.
        all_classes: random validation clips are drawn again until every class is among them (EVAR).
        standardise_with_valid: mean and deviation are measured before validation clips are set aside (EVAR).
        seeds: of start, order and random validation clips; the score is the mean over them.
        valid_seed: of random validation clips; -1: each seed draws its own.
        crop: what happens to clips before the encoder.
        leaks: what flatters the score.
        fold_leaks: what flatters the score of a fold-wise corpus besides.
        notes: what else a reader of the score must know.
    """

    name: str
    probe: str
    source: str
    points: tuple[GridPoint, ...] = ()
    drawn: int = 0
    draw_seed: int = 42
    choose_once: bool = False
    training: CompatTraining = field(default_factory=CompatTraining)
    neighbours: NeighbourConfig | None = None
    folds: FoldMap = "next_validates"
    split_test_validates: bool = False
    valid_share: float = 0.1
    all_classes: bool = False
    standardise_with_valid: bool = False
    seeds: tuple[int, ...] = (42,)
    valid_seed: int = -1
    crop: KitCropConfig = field(default_factory=KitCropConfig)
    leaks: tuple[str, ...] = ()
    fold_leaks: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Check that there is something to do.

        Raises:
            ConfigError: no head and no neighbours (or both), no seed, or more points drawn than there are.
        """
        if bool(self.points) == (self.neighbours is not None):
            raise ConfigError(f"protocol {self.name!r} needs points of a grid or neighbours, and not both")
        if not self.seeds or not 0 <= self.drawn <= len(self.points):
            raise ConfigError(
                f"protocol {self.name!r} has {len(self.seeds)} seeds and draws {self.drawn} of {len(self.points)} "
                "points; expected at least one seed, and no more points than the grid has"
            )
        if not 0 < self.valid_share < 1:
            raise ConfigError(f"valid_share is {self.valid_share}; expected a share above 0 and below 1")

    @property
    def tried(self) -> tuple[GridPoint, ...]:
        """The points that are tried, in the kit's order: of equally good ones the first is chosen."""
        if not self.drawn:
            return self.points
        order = list(self.points)
        random.Random(self.draw_seed).shuffle(order)  # noqa: S311 - the kit's own draw, and nobody's secret
        return tuple(order[: self.drawn])

    @property
    def layered(self) -> Literal["all", "blocks"] | None:
        """Which layers the head reads: all hidden states, the blocks' outputs only, or None: the encoder's output."""
        if not self.points or not isinstance(self.points[0].head, CompatLayersHeadConfig):
            return None
        return "all" if self.points[0].head.weights == "zeros" else "blocks"

    def full(self) -> ProtocolConfig:
        """Return the protocol with the whole grid instead of the points drawn."""
        return self.replace(drawn=0)

    def raced(self) -> ProtocolConfig:
        """Return auricle's quicker variant: the whole grid, settings that fall behind stop early.

        No kit does so; a result says it. See `CompatTraining.race`.
        """
        note = "auricle's race stops points that fall behind; the kit trains all of them to their end"
        race = ((4, 0.125), (12, 0.0625))
        return self.replace(drawn=0, training=self.training.replace(race=race), notes=(*self.notes, note))


_LR = (3.2e-3, 1e-3, 3.2e-4, 1e-4)
_HEAR_INITS: tuple[Literal["xavier_uniform", "xavier_normal"], ...] = ("xavier_uniform", "xavier_normal")

HEAR = ProtocolConfig(
    name="hear",
    probe="hear_mlp",
    source="hear-eval-kit 2021.1.3",
    # The order of scikit-learn's ParameterGrid, which the kit shuffles: names sorted, the last one runs fastest.
    points=tuple(
        GridPoint(head=CompatHeadConfig(hidden=(1024,) * layers, batch_norm=True, dropout=0.1, init=init), lr=lr)
        for layers in (1, 2)
        for init in _HEAR_INITS
        for lr in _LR
    ),
    drawn=8,
    choose_once=True,
    training=CompatTraining(batch=1024, shuffle=False, epochs=500, check_every=3, patience=20),
    folds="next_validates",
    fold_leaks=(
        "the point of the grid is chosen on the first fold only, with validation clips that other folds test on, and "
        "used on all folds",
    ),
    notes=(
        "the kit scores the mean over folds; embeddings are not normalised, training clips are not shuffled",
        "weights start from auricle's own draws: the kit's depend on what was trained before",
    ),
)

EVAR = ProtocolConfig(
    name="evar",
    probe="evar_linear",
    source="eval-audio-repr 88ba772",
    points=(GridPoint(head=CompatHeadConfig(standardise=True), lr=3e-4),),
    training=CompatTraining(
        batch=200, epochs=200, check_every=1, patience=20, ties="last", weight_decay=1e-8, per_class=True
    ),
    folds="random_validates",
    valid_share=0.1,
    all_classes=True,
    standardise_with_valid=True,
    seeds=(42, 43, 44),
    crop=KitCropConfig(train="random", pad=True),
)

XARES = ProtocolConfig(
    name="xares",
    probe="xares_linear",
    source="xares 161f0ef",
    points=(GridPoint(head=CompatHeadConfig(source="mean", layer_norm=True), lr=1e-3),),
    training=CompatTraining(batch=32, epochs=10, check_every=1, patience=0, schedule="cosine", floor=0.1),
    folds="test_validates",
    fold_leaks=("the best epoch is chosen on the fold that is tested",),
    notes=("X-ARES calls its trained head MLP; it is a layer norm and one linear layer",),
)

XARES_KNN = ProtocolConfig(
    name="xares",
    probe="xares_knn",
    source="xares 161f0ef",
    neighbours=NeighbourConfig(),
    folds="test_validates",
)

MARBLE = ProtocolConfig(
    name="marble",
    probe="marble_mlp",
    source="MARBLE v1",
    points=(GridPoint(head=CompatLayersHeadConfig(hidden=(512,), dropout=0.2, weights="normal"), lr=1e-3),),
    training=CompatTraining(
        batch=64,
        epochs=100,
        check_every=1,
        patience=20,
        schedule="plateau",
        factor=0.5,
        plateau_patience=6,
        multi_metric="auc",
    ),
    seeds=(1234,),
    notes=(
        "MARBLE trains in half precision; here in float32",
        "MARBLE knows official splits only: where a corpus has folds, the next one validates",
    ),
)

SUPERB = ProtocolConfig(
    name="superb",
    probe="superb_linear",
    source="s3prl ec8064b",
    # The learning rate is the one thing that SUPERB lets a user tune; its grid is log-spaced, its ends are not given.
    points=tuple(
        GridPoint(head=CompatLayersHeadConfig(hidden=(256,), activation="none", weights="zeros"), lr=lr)
        for lr in (1e-2, 1e-3, 1e-4, 1e-5)
    ),
    training=CompatTraining(batch=32, steps=30_000, check_every=1000, patience=0, clip=1.0),
    folds="random_validates",
    valid_share=0.2,
    seeds=(1337,),
    valid_seed=0,
    notes=("SUPERB splits its emotion task by session and draws a fifth of the training clips to validate",),
)

PROTOCOLS: dict[str, tuple[ProtocolConfig, ...]] = {
    "hear": (HEAR,),
    "hear_full": (HEAR.full(),),
    "hear_raced": (HEAR.raced(),),
    "evar": (EVAR,),
    "xares": (XARES, XARES_KNN),
    "marble": (MARBLE,),
    "superb": (SUPERB,),
}


def get_protocol(name: str) -> tuple[ProtocolConfig, ...]:
    """Return a kit's protocol: one for each of its readers.

    Raises:
        ConfigError: none is called so; names the nearest.
    """
    if name not in PROTOCOLS:
        raise ConfigError(f"no protocol is called {name!r}{nearest(name, PROTOCOLS)}; `strict` is auricle's own")
    return PROTOCOLS[name]

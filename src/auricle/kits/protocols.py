"""The protocols of the evaluation kits as data: HEAR, EVAR, X-ARES, MARBLE and SUPERB, with their quirks.

Their results are comparable with those that users of the kit publish. Settings are those of the kits' code (HEAR
2021.1.3, EVAR 88ba772, X-ARES 161f0ef, MARBLE v1, s3prl ec8064b), with what in the protocol flatters a score (`leaks`)
and what a cache of tokens can't reproduce (`notes`).
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from annotated_types import Ge

from auricle.config import Config, Count, InnerShare, Natural, NonNegative, Positive, nearest
from auricle.errors import ConfigError
from auricle.kits.grid import GridPoint
from auricle.kits.head import KitHeadConfig, KitLayersHeadConfig
from auricle.kits.training import KitTraining

FoldMap = Literal["next_validates", "random_validates", "test_validates"]
# Settings whose class had another name when the keys of results were defined. (The wording of leaks and notes is part
# of the keys, too: changing it would make finished results look like others.)
_KEYED_KINDS = {
    "KitHeadConfig": "CompatHeadConfig",
    "KitLayersHeadConfig": "CompatLayersHeadConfig",
    "KitTraining": "CompatTraining",
}


@dataclass(frozen=True)
class KitCropConfig(Config):
    """How a kit crops clips before the encoder.

    Attributes:
        seconds: length of the crop; 0: clips stay whole.
        train: crop of a training clip: at `random`, or from its `start`.
        pad: pad shorter clips with zeros at their end.
    """

    seconds: NonNegative = 0.0
    train: Literal["random", "start"] = "start"
    pad: bool = False


@dataclass(frozen=True)
class NeighbourConfig(Config):
    """X-ARES's nearest neighbours: cosine, each vote weighed by a softmax over the neighbours' similarities.

    Attributes:
        k: number of neighbours.
        temperature: of the softmax.
    """

    k: Count = 10
    temperature: Positive = 0.07


@dataclass(frozen=True)
class ProtocolConfig(Config):
    """A kit's protocol.

    Attributes:
        name: of the kit.
        probe: name of the head in results.
        source: the code that the settings were taken from.
        points: the grid in the kit's order; one point: no search. Empty where neighbours vote.
        drawn: how many points of the shuffled grid are tried; 0: all, in order.
        draw_seed: of that shuffle (`random.shuffle` of Python).
        choose_once: try the points on the first fold only, and use its best one on all (HEAR).
        training: how the head is trained.
        neighbours: votes instead of a trained head, or None.
        folds: validation clips of a corpus with folds: the `next` fold, `random` training clips, or the `test` fold
            itself. A corpus with its own validation clips keeps them.
        split_test_validates: on an official split, train on all other clips and validate on the test clips themselves.
        valid_share: share of the training clips for random validation.
        all_classes: draw random validation clips again until every class is among them (EVAR).
        standardise_with_valid: measure mean and deviation before validation clips are held out (EVAR).
        seeds: of initial weights, order and random validation clips; the score is the mean over them.
        valid_seed: of random validation clips; -1: each seed draws its own.
        crop: what happens to clips before the encoder.
        leaks: what flatters the score.
        fold_leaks: what flatters the score of a corpus with folds in addition.
        notes: further caveats of the score.
    """

    name: str
    probe: str
    source: str
    points: tuple[GridPoint, ...] = ()
    drawn: Natural = 0
    draw_seed: int = 42
    choose_once: bool = False
    training: KitTraining = field(default_factory=KitTraining)
    neighbours: NeighbourConfig | None = None
    folds: FoldMap = "next_validates"
    split_test_validates: bool = False
    valid_share: InnerShare = 0.1
    all_classes: bool = False
    standardise_with_valid: bool = False
    seeds: tuple[int, ...] = (42,)
    valid_seed: Annotated[int, Ge(-1)] = -1
    crop: KitCropConfig = field(default_factory=KitCropConfig)
    leaks: tuple[str, ...] = ()
    fold_leaks: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if bool(self.points) == (self.neighbours is not None):
            raise ConfigError(f"protocol {self.name!r} needs points of a grid or neighbours, and not both")
        if not self.seeds or self.drawn > len(self.points):
            raise ConfigError(
                f"protocol {self.name!r} has {len(self.seeds)} seeds and draws {self.drawn} of {len(self.points)} "
                "points; expected at least one seed, and no more points than the grid has"
            )

    @property
    def tried(self) -> tuple[GridPoint, ...]:
        """The points to try, in the kit's order: of equally good ones the first is selected."""
        if not self.drawn:
            return self.points
        order = list(self.points)
        random.Random(self.draw_seed).shuffle(order)  # noqa: S311 - the kit's own draw, and nobody's secret
        return tuple(order[: self.drawn])

    @property
    def layers(self) -> Literal["states", "blocks"] | None:
        """What the head reads: all hidden `states`, the outputs of the `blocks`, or None: the encoder's output."""
        if not self.points or not isinstance(self.points[0].head, KitLayersHeadConfig):
            return None
        return "states" if self.points[0].head.weights == "zeros" else "blocks"

    def key_facts(self) -> dict[str, Any]:
        """Return the settings as they enter the key of a result, under the names that they had in version 0.1."""
        facts: dict[str, Any] = _keyed(self.to_json())
        facts["reader"] = facts.pop("probe")
        return facts

    def full(self) -> ProtocolConfig:
        """Return the protocol with the whole grid instead of the points drawn."""
        return self.replace(drawn=0)

    def raced(self) -> ProtocolConfig:
        """Return auricle's faster variant: the whole grid, settings that fall behind stop early.

        No kit does so, and the notes of a result say it. See `KitTraining.race`.
        """
        note = "auricle's race stops points that fall behind; the kit trains all of them to their end"
        race = ((4, 0.125), (12, 0.0625))
        return self.replace(drawn=0, training=self.training.replace(race=race), notes=(*self.notes, note))


def _keyed(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _KEYED_KINDS.get(v, v) if k == "kind" else _keyed(v) for k, v in value.items()}
    return [_keyed(v) for v in value] if isinstance(value, list) else value


_LR = (3.2e-3, 1e-3, 3.2e-4, 1e-4)
_HEAR_INITS: tuple[Literal["xavier_uniform", "xavier_normal"], ...] = ("xavier_uniform", "xavier_normal")

HEAR = ProtocolConfig(
    name="hear",
    probe="hear_mlp",
    source="hear-eval-kit 2021.1.3",
    # The order of scikit-learn's ParameterGrid, which the kit shuffles: names sorted, the last one runs fastest.
    points=tuple(
        GridPoint(head=KitHeadConfig(hidden=(1024,) * layers, batch_norm=True, dropout=0.1, init=init), lr=lr)
        for layers in (1, 2)
        for init in _HEAR_INITS
        for lr in _LR
    ),
    drawn=8,
    choose_once=True,
    training=KitTraining(batch=1024, shuffle=False, epochs=500, check_every=3, patience=20),
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
    points=(GridPoint(head=KitHeadConfig(standardise=True), lr=3e-4),),
    training=KitTraining(
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
    points=(GridPoint(head=KitHeadConfig(source="mean", layer_norm=True), lr=1e-3),),
    training=KitTraining(batch=32, epochs=10, check_every=1, patience=0, schedule="cosine", floor=0.1),
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
    points=(GridPoint(head=KitLayersHeadConfig(hidden=(512,), dropout=0.2, weights="normal"), lr=1e-3),),
    training=KitTraining(
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
    # SUPERB lets users tune the learning rate only; its grid is log-spaced, its ends are not specified.
    points=tuple(
        GridPoint(head=KitLayersHeadConfig(hidden=(256,), activation="none", weights="zeros"), lr=lr)
        for lr in (1e-2, 1e-3, 1e-4, 1e-5)
    ),
    training=KitTraining(batch=32, steps=30_000, check_every=1000, patience=0, clip=1.0),
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
    """Return a kit's protocol: one for each of its probes.

    Raises:
        ConfigError: none is called so; names the nearest.
    """
    if name not in PROTOCOLS:
        raise ConfigError(f"no protocol is called {name!r}{nearest(name, PROTOCOLS)}; `strict` is auricle's own")
    return PROTOCOLS[name]

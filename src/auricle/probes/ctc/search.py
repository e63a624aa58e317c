"""Fits a sequence probe: many learning rates and weight decays at once, chosen on validation utterances only."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from auricle.errors import ConfigError, TrainingError
from auricle.extras import require
from auricle.probes.ctc.decode import BLANK, beam_search, greedy
from auricle.probes.ctc.heads import CtcConfig, CtcHead
from auricle.probes.ctc.utterances import Labels, Utterances, feasible
from auricle.probes.fitted import Trial
from auricle.probes.search.config import SearchConfig
from auricle.probes.search.feed import Feed
from auricle.probes.search.optimiser import cosine
from auricle.probes.search.settings_run import SettingsRun, finite_inputs
from auricle.tokens.token_set import TokenSet

# Elements of the widest layer held at once, over settings, clips and frames (256 MiB of float32): a step that needs
# more goes through its clips in parts and adds their gradients.
_HELD = 2**26
_ALIKE = 0.6  # shortest clip of a part, in lengths of its longest: shorter ones waste time on padding
_CLIP = 5.0  # largest gradient norm of a setting: recurrent cells sometimes explode


@dataclass(frozen=True)
class FittedCtc:
    """A sequence probe at its chosen setting.

    Attributes:
        config: its settings.
        head: its one trained head (settings axis of one), in evaluation mode.
        trials: all settings tried; `score` is minus the symbol error rate of the validation utterances.
        chosen: place of the chosen one in `trials`.
        notes: remarks on its score, such as a setting at the edge of the search.
        device: of the head.
    """

    config: CtcConfig
    head: CtcHead
    trials: list[Trial]
    chosen: int
    notes: tuple[str, ...]
    device: torch.device | str = "cpu"

    @property
    def trial(self) -> Trial:
        """The chosen setting."""
        return self.trials[self.chosen]

    def log_probs(self, tokens: TokenSet) -> list[NDArray[np.float32]]:
        """Return log-probabilities `(frames, C)` of each clip."""
        found: list[NDArray[np.float32]] = [np.zeros((0, self.head.classes), dtype=np.float32)] * len(tokens)
        for places, logits, lengths in _outputs(self.head, Feed(tokens, self.head, memory_mb=0, device=self.device)):
            scores = logits[0].log_softmax(-1).cpu().numpy()
            for place, table, length in zip(places.tolist(), scores, lengths.tolist(), strict=True):
                found[place] = table[:length]
        return found

    def decode(self, tokens: TokenSet) -> list[Labels]:
        """Return the symbols of each clip, by `config.decode`.

        Raises:
            MissingExtraError: the library of the beam search is not installed.
        """
        scores = self.log_probs(tokens)
        if self.config.decode == "beam":
            return beam_search(scores, beam=self.config.beam)
        return [greedy(one[None, None], np.array([len(one)]))[0][0] for one in scores]


def fit_ctc(
    config: CtcConfig,
    train: Utterances,
    valid: Utterances | None,
    *,
    symbols: int,
    search: SearchConfig | None = None,
    seed: int = 0,
    device: torch.device | str = "cpu",
    progress: Callable[[int, int], None] | None = None,
) -> FittedCtc:
    """Train a sequence probe at every setting of a grid and return the one with the fewest validation errors.

    Errors are insertions, deletions and substitutions of symbols by greedy decoding, over the number of symbols; ties
    go to the lower loss, the mean over utterances of the negative log-likelihood a symbol.

    Args:
        config: settings of the probe, with `upsample` decided.
        train: training utterances, all of them feasible.
        valid: validation utterances; None: nothing is chosen, and the search must hold one setting.
        symbols: number of symbols, without the blank.
        search: grid, epochs (times `config.rounds`), batch, halving.
        seed: of the random start and of the order of utterances.
        device: where to train.
        progress: called with (epochs done, epochs) after each epoch.

    Raises:
        ConfigError: an utterance has too few frames or an unknown symbol, the search is no grid, or nothing can choose
            among settings.
        TrainingError: every setting diverged.
        MissingExtraError: the extra `speech` is not installed.
    """
    search = search or SearchConfig()
    if search.method != "grid":
        raise ConfigError(f"sequence probes search a grid, found method {search.method!r}; use method 'grid'")
    if valid is None and len(search.grid(config)) > 1:
        raise ConfigError("without validation utterances no setting can be chosen; set one lr and one weight decay")
    largest = max(int(one.max()) for one in train.labels)
    if largest > symbols:
        raise ConfigError(f"a training utterance has symbol {largest}, expected 1 to {symbols}")
    short = int((~feasible(train.tokens, train.labels, config.upsample or 1)).sum())
    if short:
        raise ConfigError(
            f"{short} training utterances have fewer frames than symbols; leave them out or raise upsample"
        )
    run = _Run(config, train, valid, symbols, search, seed, device)
    for epoch in range(1, run.epochs + 1):
        run.epoch(epoch)
        if progress is not None:
            progress(epoch, run.epochs)
        if not run.settings.alive:
            break
    found = run.settings.finish()
    done = found.finishers()
    if not done:
        rates = sorted({trial.lr for trial in found.trials})
        raise TrainingError(
            f"no learning rate from {rates[0]:g} to {rates[-1]:g} gave a finite loss; check that the tokens are "
            "finite, or set lower learning rates"
        )
    head = config.build(train.tokens.shape, symbols + 1, settings=1, generator=torch.Generator())
    head.load_state_dict(found.states[done[0]])
    chosen = found.trials[done[0]]
    notes = search.edge_notes(config, chosen.lr, chosen.weight_decay)
    return FittedCtc(config, head.to(device).eval(), found.trials, done[0], notes, device)


class _Run:
    """One search: data, head, and the settings that still run."""

    def __init__(
        self,
        config: CtcConfig,
        train: Utterances,
        valid: Utterances | None,
        symbols: int,
        search: SearchConfig,
        seed: int,
        device: torch.device | str,
    ) -> None:
        self.train, self.valid = train, valid
        self.order = torch.Generator().manual_seed(seed)
        self.drops = torch.Generator(device=device).manual_seed(seed)
        grid = search.grid(config)
        head = config.build(train.tokens.shape, symbols + 1, settings=len(grid), generator=self.order)
        self.head = head.to(device)
        self.feed = Feed(train.tokens, self.head, memory_mb=search.memory_mb, device=device)
        self.head.calibrate(finite_inputs(self.feed, "training"))
        self.checks = None
        if valid is not None:
            self.checks = Feed(valid.tokens, self.head, memory_mb=search.memory_mb, device=device)
        self.epochs = search.epochs * config.rounds
        self.steps = math.ceil(len(self.feed) / search.batch_size(len(self.feed)))
        self.stops = {max(1, round(at * self.epochs)): share for at, share in search.halving}
        self.settings = SettingsRun(self.head, grid, self.epochs, best_epoch=search.best_epoch, device=device)

    def epoch(self, number: int) -> None:
        """Train all living settings for one epoch, validate them, and prune."""
        self.head.train()
        order = torch.randperm(len(self.feed), generator=self.order).numpy()
        for i, places in enumerate(np.array_split(order, self.steps)):
            self.head.zero_grad()
            for part in _parts(self.head, self.feed.tokens, places):
                inputs = self.feed.batch(part)
                labels = [self.train.labels[p] for p in part.tolist()]
                each = _losses(self.head(inputs, self.drops), self.head.lengths(inputs), labels)
                (each.sum(1) / len(places)).sum().backward()
            _clip(self.head)
            self.settings.optimiser.step(cosine((number - 1) * self.steps + i, self.epochs * self.steps))
        if self.valid is None or self.checks is None:
            self.settings.keep_last(number)
            return
        errors, losses = _validate(self.head, self.checks, self.valid)
        self.settings.record(number, -errors, losses)
        if number in self.stops and number < self.epochs:
            self.settings.prune(number, self.stops[number])


def _losses(logits: Tensor, lengths: Tensor, labels: Sequence[Labels]) -> Tensor:
    """Return the negative log-likelihood a symbol of each utterance at each setting, `(S, B)`."""
    S, B, T, C = logits.shape
    sizes = torch.tensor([len(one) for one in labels], device=logits.device)
    together = torch.from_numpy(np.concatenate(labels)).to(logits.device)
    found = F.ctc_loss(
        logits.log_softmax(-1).reshape(S * B, T, C).transpose(0, 1),
        together.repeat(S),
        lengths.repeat(S),
        sizes.repeat(S),
        blank=BLANK,
        reduction="none",
        zero_infinity=True,
    )
    return found.view(S, B) / sizes


@torch.no_grad()
def _validate(head: CtcHead, feed: Feed, valid: Utterances) -> tuple[Tensor, Tensor]:
    """Return symbol error rate and loss `(S,)` of each setting.

    Utterances with too few frames count in the errors, but not in the loss, which is infinite there.
    """
    library: Any = require("rapidfuzz.distance", extra="speech")
    distance = library.Levenshtein.distance
    wrong = torch.zeros(head.settings, dtype=torch.float64)
    losses = torch.zeros(head.settings, dtype=torch.float64)
    able = feasible(valid.tokens, valid.labels, head.upsample)
    for places, logits, lengths in _outputs(head, feed):
        labels = [valid.labels[p] for p in places.tolist()]
        each = _losses(logits, lengths, labels).double().cpu()
        losses += each[:, torch.from_numpy(able[places])].sum(1)
        said = greedy(logits.cpu().numpy(), lengths.cpu().numpy())
        truth = [one.tolist() for one in labels]
        for s, strings in enumerate(said):
            wrong[s] += sum(distance(t, one.tolist()) for t, one in zip(truth, strings, strict=True))
    return wrong / sum(map(len, valid.labels)), losses / max(int(able.sum()), 1)


@torch.no_grad()
def _outputs(head: CtcHead, feed: Feed) -> Iterator[tuple[NDArray[np.int64], Tensor, Tensor]]:
    """Yield places, logits `(S, B, T U, C)` and lengths `(B,)` of all clips, similar lengths together."""
    head.eval()
    for part in _parts(head, feed.tokens, np.arange(len(feed))):
        inputs = feed.batch(part)
        yield part, head(inputs), head.lengths(inputs)


def _parts(head: CtcHead, tokens: TokenSet, places: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Split clips into parts of similar length that fit into memory, longest first."""
    widest = {"none": head.classes, "conv": 3 * head.config.kernel * head.config.hidden // head.upsample}
    # An LSTM keeps gates, cells and outputs of both directions at each frame.
    width = max(head.classes, widest.get(head.config.context, 20 * head.config.hidden))
    ordered = places[np.argsort(-tokens.time[places], kind="stable")]
    times = tokens.time[ordered]
    parts, begin = [], 0
    for i, time in enumerate(times.tolist()):
        longest = int(times[begin])
        full = (i - begin + 1) * head.settings * longest * head.upsample * width > _HELD
        if i > begin and (full or time < _ALIKE * longest):
            parts.append(ordered[begin:i])
            begin = i
    return [*parts, ordered[begin:]]


def _clip(head: CtcHead) -> None:
    """Clip each setting's gradient to the norm `_CLIP`."""
    grads = [p.grad for p in head.parameters() if p.grad is not None]
    norm = torch.stack([g.flatten(1).square().sum(1) for g in grads]).sum(0).sqrt()
    factor = (_CLIP / norm.clamp(min=1e-12)).clamp(max=1)
    for g in grads:
        g.mul_(factor.view(-1, *[1] * (g.dim() - 1)))

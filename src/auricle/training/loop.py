"""The training loop: any objective on any encoder, on one process or many, killed and resumed at any moment."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

import torch
from torch import Tensor, nn

from auricle.encoders.contract import Encoder
from auricle.errors import AuricleError, CheckpointError, StorageError, TrainingError
from auricle.objectives.contract import Objective
from auricle.storage import free_bytes
from auricle.training.checkpoint import (
    checkpoint_bytes,
    load_tensors,
    read_views,
    restore_checkpoint,
    save_checkpoint,
)
from auricle.training.memory import memory_use
from auricle.training.monitors import CollapseAlarm, Interval, SkipCounter
from auricle.training.precision import has_bf16
from auricle.training.progress import ProgressLine
from auricle.training.ranks import Ranks
from auricle.training.run_folder import RunFolder
from auricle.training.schedule import learning_rate
from auricle.training.step import Augmenter, TrainingStep
from auricle.training.stopping import stop_signals
from auricle.training.threads import step_threads, threads
from auricle.training.tracker import TensorBoardTracker
from auricle.training.train_config import TrainConfig

if TYPE_CHECKING:
    from auricle.corpus.loader import Batch

Ending = Literal["complete", "out of time", "interrupted"]


class BatchSource(Protocol):
    """What the loop needs of a loader: batches as a pure function of the step, and the files that it could not read."""

    @property
    def broken(self) -> Mapping[str, str]:
        """Recordings that could not be used -> the reason."""

    def iterate(self, start_step: int = 0) -> Iterator[Batch]:
        """Yield the batches from a step on, without end."""


def train(
    *,
    run: RunFolder,
    loader: BatchSource,
    augment: Augmenter,
    encoder: Encoder,
    objective: Objective,
    config: TrainConfig,
    resume: bool = False,
    progress: bool = True,
    ranks: Ranks | None = None,
    warnings: Sequence[str] = (),
    prepare: Callable[[Callable[[str], None]], None] | None = None,
) -> Ending:
    """Train an encoder by an objective, writing metrics, events and checkpoints into a run folder.

    Every random number derives from (seed, step, rank), so a run that was killed at any moment and resumed comes to
    the numbers it would have had, at any number of loader workers (bit for bit on the CPU, with the same threads).

    Args:
        run: where to write.
        loader: yields the batches of this rank.
        augment: makes the views, on the device.
        encoder: what is trained; changed in place and moved to the device.
        objective: what trains it, likewise.
        config: how long, how fast, how carefully.
        resume: go on from the latest checkpoint; a run that was stopped before its first one begins again at step 0.
        progress: show a progress line on rank 0.
        ranks: the processes that train together; None: those of this launch.
        warnings: what to tell the user before the first step.
        prepare: what must be done before the first step of a new run (clusters, tokenizers; it is given a function that
            takes lines for the log). Rank 0 does it; its result is the checkpoint of step 0.

    Returns:
        How it ended: all steps are done, `config.minutes` are over, or it was asked to stop (Ctrl-C, SIGTERM). A
        checkpoint is written in each case.

    Raises:
        TrainingError: the disk is full, too many steps in a row were not finite, the encoder's weights are not, or the
            run is complete already.
        CheckpointError: the checkpoint to resume from is damaged or another model's.
        NeedError: the encoder lacks an ability that the objective needs.
    """
    objective.check(encoder)
    ranks = Ranks.start(config.device) if ranks is None else ranks
    run.writes = run.writes and ranks.main
    count = step_threads(config.threads, local_world=ranks.local_world)
    with run.held(), threads(count) if ranks.device.type == "cpu" else nullcontext():
        return _Session(run, loader, augment, encoder, objective, config, ranks, progress and ranks.main).go(
            resume, warnings, prepare
        )


class _Session:
    """One process's part in a run, from its start or resumption to its end."""

    def __init__(
        self,
        run: RunFolder,
        loader: BatchSource,
        augment: Augmenter,
        encoder: Encoder,
        objective: Objective,
        config: TrainConfig,
        ranks: Ranks,
        show: bool,
    ) -> None:
        self.run, self.loader, self.config, self.ranks, self.show = run, loader, config, ranks, show
        self.encoder, self.objective = encoder, objective
        self.update = TrainingStep(encoder, objective, augment, config, ranks)
        self.step = 0
        self.saved = -1
        self.seconds = 0.0
        self.interval = Interval()
        self.skips = SkipCounter(ranks.device, config.skip_limit)
        self.alarm = CollapseAlarm(patience=max(200, 2 * config.warmup_steps))
        self.known_broken: set[str] = set()

    def go(
        self, resume: bool, warnings: Sequence[str], prepare: Callable[[Callable[[str], None]], None] | None
    ) -> Ending:
        """Run the session."""
        self._check_space()
        if resume and self.run.checkpoints:
            self._restore()
        else:
            if resume:
                self.run.rewind(0)
            self._prepare(prepare)
            for module in (self.encoder, self.objective):
                self.ranks.broadcast(module)
            if prepare is not None:
                self._save()
        with ExitStack() as stack:
            line = stack.enter_context(ProgressLine(self.config.steps, self.step, enabled=self.show))
            tracker = None
            if self.config.tensorboard and self.run.writes:
                tracker = TensorBoardTracker(self.run.path, self.step)
                stack.callback(tracker.close)
            stop = stack.enter_context(stop_signals())
            self._announce(line)
            for warning in warnings:
                self._note(line, warning, "bold yellow")
            # Closing it ends the loader's own threads, also when a step raises.
            batches = self.loader.iterate(self.step)
            stack.callback(getattr(batches, "close", lambda: None))
            try:
                return self._train(batches, line, tracker, stop)
            except torch.OutOfMemoryError as error:
                raise TrainingError(
                    f"the device's memory is used up ({str(error).splitlines()[0]}); set --train.micro-batch (gradient "
                    "caching keeps the full batch's gradient) or lower --loader.batch"
                ) from error

    def _prepare(self, prepare: Callable[[Callable[[str], None]], None] | None) -> None:
        """Do what comes before the first step on rank 0; the others wait, and are told where it failed."""
        if prepare is None:
            return
        failed: Exception | None = None
        if self.ranks.main:
            with ProgressLine(1, 0, enabled=self.show) as line:
                try:
                    prepare(lambda text: self._note(line, text))
                except AuricleError as error:
                    failed = error
        failed = self.ranks.share(failed)
        if failed is not None:
            raise failed

    def _train(
        self,
        batches: Iterator[Batch],
        line: ProgressLine,
        tracker: TensorBoardTracker | None,
        stop: threading.Event,
    ) -> Ending:
        config = self.config
        begin = mark = time.perf_counter()
        waited, clips = 0.0, 0
        ending: Ending | None = None
        while ending is None:
            asked = time.perf_counter()
            batch = next(batches, None)
            if batch is None:
                raise TrainingError(
                    f"the loader ended after step {self.step} of {config.steps}; a loader must yield without end"
                )
            waited += time.perf_counter() - asked
            result = self.update(self.step, self.update.views(self.step, batch.audio, batch.clip))
            self.interval.add(result.values)
            self.skips.add(result.skipped)
            self.step += 1
            clips += len(batch.clip) * self.ranks.world
            due = self.step % config.log_every == 0 or self.step == config.steps
            metrics = None
            if due:
                metrics = self._metrics(batch, result.watch)
                now = time.perf_counter()
                self.seconds += now - mark
                metrics["clips_per_second"] = clips / (now - mark)
                metrics["wait_share"] = waited / (now - mark)
                metrics["seconds"] = round(self.seconds, 3)
                mark, waited, clips = now, 0.0, 0
                self._report(metrics, line, tracker)
            line.update(self.step, metrics)
            if self.step == config.steps:
                ending = "complete"
            elif self.ranks.world == 1 or due:
                # Ranks must agree, and asking them waits for the device: they do it when a line is due.
                late = config.minutes is not None and time.perf_counter() - begin >= 60 * config.minutes
                if self.ranks.any(stop.is_set()):
                    ending = "interrupted"
                elif self.ranks.any(late):
                    ending = "out of time"
            # What is watched holds tensors of this step; the next one needs their room.
            del result
            if ending or self.step % config.save_every == 0:
                self._save()
        skipped = self._skipped()
        if ending == "complete":
            self._note(line, f"complete: {self.step} steps{skipped}", "bold yellow" if skipped else None)
        else:
            why = f"train.minutes ({config.minutes:g}) are over" if ending == "out of time" else "asked to stop"
            self._note(
                line,
                f"{why}: saved step {self.step} of {config.steps}; go on with --resume --out {self.run.home}{skipped}",
            )
        return ending

    def _skipped(self) -> str:
        """Return what the last line says of steps that changed nothing; empty where there were none."""
        count = self.skips.check()
        if not count:
            return ""
        return (
            f"; {count} of the {self.step} steps were skipped, having no finite loss or gradient: lower --train.lr, or "
            "set --train.precision fp32"
        )

    def _metrics(self, batch: Batch, watch: Mapping[str, Tensor]) -> dict[str, Any]:
        """Return a line of metrics: means since the last line, and this step's watched values."""
        names = [name for name in watch if name != "accuracy"]
        if names:
            now = torch.stack([watch[name].detach().float().to(self.ranks.device) for name in names])
            self.ranks.average([now])
            self.interval.add(dict(zip(names, now.unbind(), strict=True)))
        lengths, wave = batch.audio.lengths, batch.audio.wave
        return {
            "step": self.step,
            "epoch": batch.epoch,
            **self.interval.means(),
            "lr": learning_rate(self.step - 1, self.config),
            "skipped": self.skips.check(),
            "batch": len(batch.clip) * self.ranks.world,
            "padding": 1 - int(lengths.sum()) / max(1, wave.numel()),
            **memory_use(self.ranks.device),
        }

    def _report(self, metrics: dict[str, Any], line: ProgressLine, tracker: TensorBoardTracker | None) -> None:
        self.run.metrics(metrics)
        if tracker is not None:
            tracker.write(metrics)
        broken = dict(self.loader.broken)  # a copy: the loader's threads add to it
        for file in sorted(broken.keys() - self.known_broken):
            self.known_broken.add(file)
            self._note(line, f"skipped a broken file: {file}: {broken[file]}", "yellow")
        warning = self.alarm(self.step, metrics)
        if warning:
            self._note(line, warning, "bold red")

    def _announce(self, line: ProgressLine) -> None:
        precision = "fp32" if self.update.dtype is None else "bf16 autocast"
        place = str(self.ranks.device)
        if self.ranks.device.type == "cpu":
            place += f", {torch.get_num_threads()} threads"
        verb = f"resumed at step {self.step}" if self.step else "started"
        self._note(
            line,
            f"{verb}: {self.config.steps} steps on {place}, {precision}, {self.ranks.world} rank(s)",
        )
        if self.update.dtype is not None and not has_bf16(self.ranks.device):
            self._note(line, "this processor emulates bfloat16: --train.precision fp32 is faster here", "yellow")

    def _note(self, line: ProgressLine, text: str, style: str | None = None) -> None:
        self.run.log(text)
        line.note(text, style)

    def _check_space(self) -> None:
        if not self.run.writes:
            return
        size, free = checkpoint_bytes(self.encoder, self.objective), free_bytes(self.run.path)
        if free < 1.1 * size:
            raise StorageError(
                f"a checkpoint takes {size / 1e6:.0f} MB and {free / 1e6:.0f} MB are free at {self.run.path}: free "
                "some space, or give another --out"
            )

    def _save(self) -> None:
        if self.saved == self.step:
            return
        self.skips.check()
        self._check_weights()
        remembered = self._remembered()
        if self.run.writes:
            save_checkpoint(
                self.run.path / "checkpoints",
                step=self.step,
                encoder=self.encoder,
                objective=self.objective,
                optimiser=self.update.optimiser,
                progress={"seconds": self.seconds, "interval": self.interval.state(), "skips": self.skips.state()},
                recipe=self.run.recipe,
                keep=self.config.keep,
                views=remembered,
            )
        self.saved = self.step
        self.ranks.wait()

    def _check_weights(self) -> None:
        """Refuse to save an encoder that is ruined; all ranks refuse together.

        A step that is skipped leaves weights alone, but one whose gradient is finite can still take them past what
        float32 holds.

        Raises:
            TrainingError: a weight is not finite, naming it and the last checkpoint.
        """
        tensors = {name: t for name, t in self.encoder.state_dict().items() if t.is_floating_point()}
        # One wait for the device, not one a tensor.
        whole = torch.stack([torch.isfinite(t).all() for t in tensors.values()]).tolist() if tensors else []
        own = [name for name, finite in zip(tensors, whole, strict=True) if not finite]
        bad = next((names for names in self.ranks.gather(own) if names), None)
        if bad is None:
            return
        last = max((step for step in self.run.checkpoints if step < self.step), default=None)
        kept = (
            "there is no earlier checkpoint"
            if last is None
            else f"the last good checkpoint is {self.run.checkpoints[last]}"
        )
        raise TrainingError(
            f"after step {self.step}, {len(bad)} of the encoder's {len(tensors)} tensors hold weights that are not "
            f"finite ({', '.join(bad[:3])}{', ...' if len(bad) > 3 else ''}); they were not saved, {kept}: lower "
            "--train.lr, raise --train.warmup-steps, set --train.clip-norm 1 or --train.precision fp32, and start "
            "again in another --out"
        )

    def _remembered(self) -> dict[str, Tensor]:
        """Return what the makers of views of all ranks remember, as `rank0.<name>`; each rank has its own."""
        views = self.update.augment
        own = {k: v.cpu() for k, v in views.state_dict().items()} if isinstance(views, nn.Module) else {}
        if not own:
            return {}
        return {
            f"rank{rank}.{name}": value
            for rank, each in enumerate(self.ranks.gather(own))
            for name, value in each.items()
        }

    def _recall(self, checkpoint: Path) -> None:
        views = self.update.augment
        if isinstance(views, nn.Module) and views.state_dict():
            kept = read_views(checkpoint, self.ranks.rank)
            if kept:
                load_tensors(views, kept, str(checkpoint / "views.safetensors"))
            else:
                self.run.log("this rank's memory of earlier views begins empty: the run had fewer ranks")

    def _restore(self) -> None:
        checkpoint = self.run.checkpoint()
        state = restore_checkpoint(
            checkpoint, encoder=self.encoder, objective=self.objective, optimiser=self.update.optimiser
        )
        self._recall(checkpoint)
        self.step = self.saved = int(state["step"])
        if self.step >= self.config.steps:
            raise TrainingError(
                f"{self.run.path} is complete: all its {self.step} steps are done; nothing is left to resume. Probe "
                "it, or start a longer run in another --out"
            )
        try:
            self.seconds = float(state["progress"]["seconds"])
            self.interval = Interval(state["progress"]["interval"])
            self.skips = SkipCounter(self.ranks.device, self.config.skip_limit, state["progress"]["skips"])
        except (KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
            raise CheckpointError(
                f"the progress in {checkpoint / 'training.json'} is damaged ({error!r}); delete that folder to go on "
                "from the checkpoint before it, or from step 0"
            ) from error
        self.run.rewind(self.step)

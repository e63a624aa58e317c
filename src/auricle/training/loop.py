"""The training loop: any objective on any encoder, on one process or several; a killed run resumes exactly."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, nullcontext
from itertools import islice
from typing import Any, Protocol

import torch
from torch import Tensor

from auricle.corpus.loader import Batch
from auricle.devices import has_bf16
from auricle.encoders.contract import Encoder
from auricle.errors import AuricleError, CheckpointError, TrainingError
from auricle.objectives.contract import Objective
from auricle.training.batch_statistics import BATCHES, estimate_statistics, running_statistics
from auricle.training.budget import Budget, refuse_complete, warm_up_warning
from auricle.training.monitors import CollapseAlarm, Interval, SkipCounter, memory_use
from auricle.training.optimiser import learning_rate
from auricle.training.progress import ProgressLine, TensorBoardTracker
from auricle.training.ranks import Ranks
from auricle.training.run_folder import RunFolder
from auricle.training.saving import Saver
from auricle.training.signals import Ending, Stop, stop_signals
from auricle.training.step import Augmenter, TrainingStep
from auricle.training.threads import step_threads, threads
from auricle.training.train_config import TrainConfig
from auricle.words import counted

Prepare = Callable[[Callable[[str], None]], None]


class BatchSource(Protocol):
    """A loader as the loop uses it: batches as a pure function of the step, and the files that it could not read."""

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
    prepare: Prepare | None = None,
) -> Ending:
    """Train an encoder by an objective, writing metrics, events and checkpoints into a run folder.

    Every random number derives from (seed, step, rank), so a resumed run reproduces exactly the result of an
    uninterrupted one, at any number of loader workers (bit for bit on the CPU, with the same threads).

    Args:
        run: folder to write to.
        loader: yields the batches of this rank.
        augment: makes the views, on the device.
        encoder: to train; changed in place and moved to the device.
        objective: to train it by, likewise.
        config: steps, learning rate, precision, checkpoints.
        resume: continue from the latest checkpoint; a run without one begins again at step 0.
        progress: show a progress line on rank 0.
        ranks: the processes that train together; None: those of this launch.
        warnings: shown to the user before the first step.
        prepare: work before the first step of a new run (clusters, tokenizers), called with a function that logs a
            line. Rank 0 runs it; the result is the checkpoint of step 0.

    Returns:
        How the run ended: all steps are done, `config.minutes` are over, or it was asked to stop (`interrupted` by
        Ctrl-C, `terminated` by SIGTERM). A checkpoint is written in each case.

    Raises:
        TrainingError: too many steps in a row were not finite, the encoder's weights are not, or the run is complete
            already.
        StorageError: the disk is full.
        CheckpointError: the checkpoint to resume from is damaged or another model's.
        NeedError: the encoder lacks an ability that the objective needs.
    """
    objective.check(encoder)
    ranks = Ranks.start(config.device) if ranks is None else ranks
    run.writes = run.writes and ranks.main
    count = step_threads(config.threads, local_world=ranks.local_world)
    with threads(count) if ranks.device.type == "cpu" else nullcontext():
        update = TrainingStep(encoder, objective, augment, config, ranks)
        return _Session(run, loader, update, progress and ranks.main).go(resume, warnings, prepare)


class _Session:
    """One process's part in a run, from its start or resumption to its end."""

    def __init__(self, run: RunFolder, loader: BatchSource, update: TrainingStep, show: bool) -> None:
        self.run, self.loader, self.update, self.show = run, loader, update, show
        self.config, self.ranks = update.config, update.ranks
        self.saver = Saver(run, update, self.ranks)
        self.step = 0
        self.seconds = 0.0
        self.interval = Interval()
        self.skips = SkipCounter(self.ranks.device, self.config.skip_limit)
        self.alarm = CollapseAlarm(patience=max(200, 2 * self.config.warmup_steps))
        self.known_broken: set[str] = set()
        # What was wrong with the journal of the run that is resumed.
        self.faults: list[str] = []
        # A run that auricle 0.2 began keeps no record, so that its number of steps stays.
        held = (run.recorded, run.plan, run.fitted) if self.ranks.main else None
        self.recorded, plan, fitted = self.ranks.share(held)
        self.budget = Budget(self.config, plan, fitted=fitted)
        update.plan = self.budget.plan

    def go(self, resume: bool, warnings: Sequence[str], prepare: Prepare | None) -> Ending:
        """Run the session."""
        self.saver.check_space()
        if resume and self.run.checkpoints:
            self._restore()
        else:
            if resume:
                self.faults = self.run.rewind(0)
            self._prepare(prepare)
            for module in (self.update.encoder, self.update.objective):
                self.ranks.broadcast(module)
            if prepare is not None:
                self._save()
        if self.budget.take_over(self.step):
            self._follow_plan()
        with ExitStack() as stack:
            line = stack.enter_context(ProgressLine(self.budget.steps, self.step, enabled=self.show))
            tracker = None
            if self.config.tensorboard and self.run.writes:
                tracker = TensorBoardTracker(self.run.path, self.step)
                stack.callback(tracker.close)
            stop = stack.enter_context(stop_signals())
            self._announce(line)
            for warning in (*self.faults, *warnings):
                self._note(line, warning, "bold yellow")
            self._warn_of_warm_up(line)
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

    def _prepare(self, prepare: Prepare | None) -> None:
        """Prepare on rank 0 while the others wait; a failure is raised on every rank."""
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
        self, batches: Iterator[Batch], line: ProgressLine, tracker: TensorBoardTracker | None, stop: Stop
    ) -> Ending:
        config = self.config
        # The minutes begin here: what is prepared before does not count.
        self.budget = Budget(config, self.budget.plan, fitted=self.budget.fitted)
        line.deadline = self.budget.deadline
        mark, waited, clips = time.perf_counter(), 0.0, 0
        ending: Ending | None = None
        while ending is None:
            asked = time.perf_counter()
            batch = next(batches, None)
            if batch is None:
                raise TrainingError(
                    f"the loader ended after step {self.step} of {self.budget.steps}; a loader must yield without end"
                )
            waited += time.perf_counter() - asked
            due = (self.step + 1) % config.log_every == 0 or self.step + 1 >= self.budget.steps
            result = self.update(self.step, self.update.views(self.step, batch.audio, batch.clip), watched=due)
            self.interval.add(result.values)
            self.skips.add(result.skipped)
            self.step += 1
            clips += len(batch.clip) * self.ranks.world
            metrics = self._metrics(batch, result.watch) if due else None
            if metrics is not None:
                now = time.perf_counter()
                self.seconds += now - mark
                metrics["clips_per_second"] = clips / (now - mark)
                metrics["wait_share"] = waited / (now - mark)
                metrics["seconds"] = round(self.seconds, 3)
                mark, waited, clips = now, 0.0, 0
                self._report(metrics, line, tracker)
            line.update(self.step, metrics)
            if self.step >= self.budget.steps:
                ending = "complete"
            elif self.ranks.world == 1 or due:
                # Ranks must agree, and asking them waits for the device: they do it when a line is due.
                if self.ranks.any(stop.is_set()):
                    ending = stop.ending
                elif self.ranks.any(self.budget.over):
                    ending = "out of time"
                else:
                    self._fit(line)
            # Watched values hold tensors of this step; the next one needs their memory.
            del result
            if ending:
                self._end(ending, batches, line)
            elif self.step % config.save_every == 0:
                self._save()
        skipped = self._skipped()
        if ending == "complete":
            self._note(line, f"complete: {self.step} steps{skipped}", "bold yellow" if skipped else None)
        else:
            why = f"train.minutes ({config.minutes:g}) are over" if ending == "out of time" else "asked to stop"
            launcher = "" if self.ranks.world == 1 else " under the same launcher (-m auricle.cli for auricle)"
            self._note(
                line,
                f"{why}: saved step {self.step} of {self.budget.steps}{skipped}; continue{launcher} with: "
                f"{self.run.resume_command}",
            )
        if ending == "out of time":
            self._warn_of_warm_up(line, stopped=True)
        return ending

    def _end(self, ending: Ending, batches: Iterator[Batch], line: ProgressLine) -> None:
        """Estimate running statistics and save; what stops a run again while it estimates costs it no step."""
        moving = running_statistics(self.update.encoder) if ending != "complete" else {}
        if moving:
            self._save()
        inputs = (self.update.plain(batch.audio) for batch in islice(batches, BATCHES))
        if norms := estimate_statistics(self.update.encoder, inputs):
            self._note(line, f"{counted(norms, 'norm')}: running statistics of {BATCHES} plain batches")
        self._save(over=ending == "out of time", moving=moving)

    def _fit(self, line: ProgressLine) -> None:
        """Fit the number of steps to `train.minutes` by rank 0's clock; write it down before a step is made by it."""
        if self.config.minutes is None or not self.recorded:
            return
        changed, self.budget.plan = self.ranks.share((self.budget.fit(self.step), self.budget.plan))
        if not changed:
            return
        self.budget.fitted = self.config.minutes
        self._follow_plan()
        line.steps = self.budget.steps
        self._note(
            line,
            f"after step {self.step}: {self.budget.steps} steps fit into train.minutes ({self.config.minutes:g}); the "
            "learning rate ends there",
        )
        self._warn_of_warm_up(line)

    def _follow_plan(self) -> None:
        self.update.plan = self.budget.plan
        self.run.record(plan=self.budget.plan, minutes=self.budget.fitted)

    def _warn_of_warm_up(self, line: ProgressLine, stopped: bool = False) -> None:
        if warning := warm_up_warning(self.config, self.budget.steps, self.step if stopped else None):
            self._note(line, warning, "bold yellow")

    def _skipped(self) -> str:
        """Return the end of the last line, on steps that changed nothing; empty where there were none."""
        if not (count := self.skips.check()):
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
            "lr": learning_rate(self.step - 1, self.config, self.update.plan),
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
            self._note(line, f"skipped a corrupt file: {file}: {broken[file]}", "yellow")
        if warning := self.alarm(self.step, metrics):
            self._note(line, warning, "bold red")

    def _announce(self, line: ProgressLine) -> None:
        precision = "fp32" if self.update.dtype is None else "bf16 autocast"
        place = str(self.ranks.device)
        if self.ranks.device.type == "cpu":
            place += f", {counted(torch.get_num_threads(), 'thread')}"
        verb = f"resumed at step {self.step}" if self.step else "started"
        self._note(
            line,
            f"{verb}: {counted(self.budget.steps, 'step')} on {place}, {precision}, "
            f"{counted(self.ranks.world, 'rank')}",
        )
        if self.update.dtype is not None and not has_bf16(self.ranks.device):
            self._note(line, "this processor emulates bfloat16: --train.precision fp32 is faster here", "yellow")

    def _note(self, line: ProgressLine, text: str, style: str | None = None) -> None:
        self.run.log(text)
        line.note(text, style)

    def _save(self, over: bool = False, moving: Mapping[str, Tensor] | None = None) -> None:
        self.skips.check()
        done = {"seconds": self.seconds, "interval": self.interval.state(), "skips": self.skips.state()}
        self.saver.save(self.step, {**done, "steps": self.budget.steps, "over": over}, moving or {})

    def _restore(self) -> None:
        checkpoint, state = self.saver.restore()
        self.step = self.saver.saved
        refuse_complete(self.run.path, self.step, self.budget)
        try:
            self.seconds = float(state["progress"]["seconds"])
            self.interval = Interval(state["progress"]["interval"])
            self.skips = SkipCounter(self.ranks.device, self.config.skip_limit, state["progress"]["skips"])
        except (KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
            raise CheckpointError(
                f"the progress in {checkpoint / 'training.json'} is damaged ({error!r}); delete that folder to "
                "continue from the checkpoint before it, or from step 0"
            ) from error
        self.faults = self.run.rewind(self.step, state["progress"].get("lines"))

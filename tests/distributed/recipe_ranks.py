"""A rank that computes loss, gradients and state of recipes on its rows of a batch (see test_every_recipe_ranks)."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import fields, replace
from pathlib import Path

import torch
import torch.distributed as dist
from torch import nn

from auricle.audio.batch import Audio, Features
from auricle.encoders.contract import Encoder
from auricle.encoders.parts.batch_norm import normalise_over_ranks
from auricle.objectives.contract import View
from auricle.objectives.predictive.teacher import MovingAverage
from auricle.recipes import get_recipe
from auricle.recipes.building import build
from auricle.recipes.matrix import made_audio, make_ready
from auricle.recipes.recipe import Recipe

RANKS, CLIPS = 2, 8


def undropped(recipe: Recipe) -> Recipe:
    """Switch off dropout where an encoder reads it from its settings."""
    names = {field.name for field in fields(recipe.encoder)}
    off = {name: 0.0 for name in names if "dropout" in name or name in ("drop_path", "layer_drop")}
    return recipe.replace(encoder=recipe.encoder.replace(**off))


def quiet(module: nn.Module) -> None:
    """Switch off what draws from torch's global generator: dropout and skipped layers differ from rank to rank."""
    for child in module.modules():
        if isinstance(child, nn.modules.dropout._DropoutNd):
            child.p = 0.0
        if isinstance(child, nn.RNNBase):
            child.dropout = 0.0
        for name in (
            "drop_path",
            "layer_drop",
            "dropout",
            "attention_dropout",
            "activation_dropout",
            "input_dropout",
            "bias_dropout",
        ):
            if isinstance(getattr(child, name, None), float):
                setattr(child, name, 0.0)


def double(view: View) -> View:
    f = view.features
    reference = view.reference
    if reference is not None:
        reference = Audio(reference.wave.double(), reference.lengths, reference.rate)
    told = {k: v.double() if v.is_floating_point() else v for k, v in view.certificate.items()}
    return View(Features(f.x.double(), f.lengths, f.rate, f.pad), view.clip, told, reference)


def halves(recipe: Recipe, frontend: nn.Module, views: int) -> list[list[View]]:
    """Return the views of each rank's rows, made as each rank makes them."""
    audio = made_audio(recipe, frontend.rate, CLIPS)
    made = []
    for rank in range(RANKS):
        rows = slice(rank * CLIPS // RANKS, (rank + 1) * CLIPS // RANKS)
        maker = recipe.augment.build(frontend)
        found = maker(audio[rows], views, torch.Generator().manual_seed(rank))
        made.append([double(View(v.features, torch.arange(CLIPS)[rows], v.certificate, v.reference)) for v in found])
    return made


def joined(parts: list[list[View]]) -> list[View]:
    """Join the ranks' views into the batch of one process; partners are places in a batch."""
    whole = []
    for column in zip(*parts, strict=True):
        told, offset = {}, 0
        for name in column[0].certificate:
            values = []
            for rank, view in enumerate(column):
                offset = rank * CLIPS // RANKS
                value = view.certificate[name]
                values.append(torch.where(value >= 0, value + offset, value) if name.startswith("partner") else value)
            told[name] = torch.cat(values)
        features = replace(
            column[0].features,
            x=torch.cat([v.features.x for v in column]),
            lengths=torch.cat([v.features.lengths for v in column]),
        )
        reference = column[0].reference
        if reference is not None:
            reference = Audio(
                torch.cat([v.reference.wave for v in column if v.reference]),
                torch.cat([v.reference.lengths for v in column if v.reference]),
                reference.rate,
            )
        whole.append(View(features, torch.cat([v.clip for v in column]), told, reference))
    return whole


def compute(name: str, rank: int, world: int) -> dict[str, torch.Tensor]:
    recipe = undropped(get_recipe(name, "tiny"))
    frontend, encoder, objective = build(recipe, 0)
    make_ready(recipe, frontend, encoder, objective)
    encoder, objective = encoder.double().train(), objective.double().train()
    quiet(encoder)
    quiet(objective)
    modules: list[nn.Module] = [encoder, *(m for m in objective.modules() if isinstance(m, MovingAverage))]
    for module in modules:
        normalise_over_ranks(module)
    parts = halves(recipe, frontend, objective.views)
    views = parts[rank] if world > 1 else joined(parts)
    loss = objective(encoder, views, torch.Generator().manual_seed(3))
    loss.total.backward()
    found = {"loss": loss.total.detach().clone()}
    both: list[tuple[str, Encoder | nn.Module]] = [("encoder", encoder), ("objective", objective)]
    for room, module in both:
        for key, p in module.named_parameters():
            if p.requires_grad:
                found[f"grad {room}.{key}"] = torch.zeros_like(p) if p.grad is None else p.grad
    if world > 1:
        for tensor in found.values():
            dist.all_reduce(tensor)
            tensor /= world
    objective.after_step(encoder, 0)
    for room, module in both:
        for key, value in module.state_dict().items():
            found[f"state {room}.{key}"] = value.double() if value.is_floating_point() else value
    return found


def main() -> None:
    out, names = Path(sys.argv[1]), json.loads(sys.argv[2])
    rank, world = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    torch.set_num_threads(1)
    if world > 1:
        dist.init_process_group("gloo", init_method=f"file://{out}/rendezvous", rank=rank, world_size=world)
    for name in names:
        torch.save(compute(name, rank, world), out / f"{name}-{world}-{rank}.pt")
    if world > 1:
        dist.barrier()
        dist.destroy_process_group()


if __name__ == "__main__":
    main()

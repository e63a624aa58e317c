"""First weights of published methods against the standard deviations of their releases."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from auricle.encoders.spectrogram_transformer import SpectrogramTransformer
from auricle.objectives.predictive.masked_prediction import MaskedPrediction
from auricle.recipes import get_recipe
from auricle.recipes.building import build


def xavier(inputs: int, outputs: int) -> float:
    return math.sqrt(2 / (inputs + outputs))


def torchs(inputs: int, outputs: int) -> float:
    """Uniform within 1 / sqrt(inputs)."""
    return 1 / math.sqrt(3 * inputs)


def bert(inputs: int, outputs: int) -> float:
    return 0.02


def small(method: str, size: str = "paper") -> tuple[SpectrogramTransformer, Any]:
    """A method with its first weights, of few layers."""
    recipe = get_recipe(method, size)
    encoder = recipe.encoder.replace(depth=2)
    objective = recipe.objective
    if getattr(objective.decoder, "depth", 0) > 2:
        objective = objective.replace(decoder=objective.decoder.replace(depth=2))
    _, built, loss = build(recipe.replace(encoder=encoder, objective=objective), 0)
    assert isinstance(built, SpectrogramTransformer)
    assert isinstance(loss, MaskedPrediction)
    return built, loss


def close(found: Tensor, std: float) -> None:
    spread = float(found.detach().float().square().mean().sqrt())
    assert spread == pytest.approx(std, rel=4 / math.sqrt(found.numel()) + 0.002)


def as_drawn(module: nn.Module, std: Any, skip: tuple[nn.Module, ...] = ()) -> None:
    """Check the weights of every linear layer of a module, and that there are some."""
    layers = [m for m in module.modules() if isinstance(m, nn.Linear) and all(m is not other for other in skip)]
    assert layers
    for layer in layers:
        close(layer.weight, std(layer.in_features, layer.out_features))
        if layer.bias is not None and std is not torchs:
            assert not layer.bias.any()


@pytest.mark.parametrize(
    ("method", "linear", "patch", "cls"),
    [
        ("audio-mae", xavier, xavier, 0.02),
        ("m2d", xavier, xavier, 0.02),
        ("msm-mae", xavier, xavier, 0.02),
        ("maskspec", xavier, xavier, 0.02),
        ("dasheng", xavier, torchs, None),
        ("eat", bert, xavier, 1.0),
        ("bat", xavier, torchs, 0.02),
        ("mae-ast", bert, torchs, None),
        ("ssast", bert, torchs, 0.02),
    ],
)
@pytest.mark.parametrize("size", ["paper", "tiny"])
def test_encoders(method: str, size: str, linear: Any, patch: Any, cls: float | None) -> None:
    encoder, _ = small(method, size)
    as_drawn(encoder, linear, skip=(encoder.patch_proj,))
    projection = encoder.patch_proj
    close(projection.weight, patch(projection.in_features, projection.out_features))
    # Every release leaves the biases of this convolution as torch draws them.
    close(projection.bias, torchs(projection.in_features, projection.out_features))
    if cls is None:
        assert encoder.cls_token is None
    else:
        assert encoder.cls_token is not None
        close(encoder.cls_token, cls)


@pytest.mark.parametrize("method", ["audio-mae", "m2d", "msm-mae", "maskspec", "bat"])
@pytest.mark.parametrize("size", ["paper", "tiny"])
def test_decoders_of_masked_autoencoders(method: str, size: str) -> None:
    _, objective = small(method, size)
    as_drawn(objective.decoder, xavier)
    as_drawn(objective.terms, xavier)
    close(objective.decoder.mask_token, 0.02)


def test_dashengs_decoder_begins_as_berts() -> None:
    _, objective = small("dasheng")
    as_drawn(objective.decoder, bert)
    as_drawn(objective.terms, bert)


def test_ssast_begins_its_heads_as_torch_and_its_mask_vector_as_xavier() -> None:
    encoder, objective = small("ssast")
    as_drawn(objective.terms, torchs)
    close(objective.mask_token, xavier(encoder.width, encoder.width))


def test_m2ds_teacher_begins_elsewhere_and_eats_where_the_student_does() -> None:
    for method, size, own in (("m2d", "paper", True), ("m2d", "tiny", True), ("eat", "paper", False)):
        encoder, objective = small(method, size)
        assert (objective.teacher.config.scope == "context") == own
        theirs = objective.teacher.copy.blocks[0].qkv.weight
        assert torch.equal(theirs, encoder.blocks[0].qkv.weight) != own
    as_drawn(small("m2d")[1].teacher.copy.blocks, xavier)


def test_a_learned_vector_begins_as_told() -> None:
    recipe = get_recipe("ssast", "tiny")
    for init, rms in (("uniform", 1 / math.sqrt(3)), ("normal", 0.3), ("xavier_normal", 192**-0.5)):
        objective = recipe.objective.replace(fill_init=init, fill_std=0.3)
        _, _, built = build(recipe.replace(objective=objective), 0)
        close(built.mask_token, rms)  # type: ignore[arg-type]
        assert bool((built.mask_token >= 0).all()) == (init == "uniform")  # type: ignore[operator]

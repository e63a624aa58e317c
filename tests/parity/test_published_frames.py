"""Mockingjay, TERA, Audio ALBERT, APC and VQ-APC: s3prl's modules on ruled weights, in the recipes' own settings."""

from __future__ import annotations

import pytest
import torch
from golden import loss_of, shrunk
from published_modules import Published

from auricle.audio.batch import Features
from auricle.objectives.masks.corruption import Corrupted, CorruptionConfig
from auricle.objectives.predictive.heads import MlpHeadConfig
from auricle.objectives.targets import inner_codes
from auricle.recipes import get_recipe

CLOSE = {"rel": 1e-7, "abs": 0.0}
MOCKINGJAY = {
    r"^patch_proj\.": "Transformer.input_representations.spec_transform.",
    r"^norm_pre\.": "Transformer.input_representations.LayerNorm.",
    r"^blocks\.(\d+)\.qkv\.(.*)": r"Transformer.encoder.layer.\1.attention.self.{query,key,value}.\2",
    r"^blocks\.(\d+)\.proj\.": r"Transformer.encoder.layer.\1.attention.output.dense.",
    r"^blocks\.(\d+)\.norm1\.": r"Transformer.encoder.layer.\1.attention.output.LayerNorm.",
    r"^blocks\.(\d+)\.fc1\.": r"Transformer.encoder.layer.\1.intermediate.dense.",
    r"^blocks\.(\d+)\.fc2\.": r"Transformer.encoder.layer.\1.output.dense.",
    r"^blocks\.(\d+)\.norm2\.": r"Transformer.encoder.layer.\1.output.LayerNorm.",
    r"^terms\.0\.head\.0\.": "SpecHead.dense.",
    r"^terms\.0\.head\.2\.": "SpecHead.LayerNorm.",
    r"^terms\.0\.head\.3\.": "SpecHead.output.",
}


@pytest.mark.parametrize("method", ["mockingjay", "tera", "audio-albert"])
def test_masked_acoustic_models(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    known = Published(method.replace("-", "_"))
    (term,) = get_recipe(method, "paper").objective.terms  # type: ignore[attr-defined]
    assert term.head == MlpHeadConfig((768,), norm="after")
    encoder, objective = shrunk(
        method,
        {"width": 32, "heads": 4, "frames": 40, "dropout": 0.0, "attention_dropout": 0.0},
        terms=(term.replace(head=MlpHeadConfig((32,), norm="after")),),
    )
    known.fill(encoder, MOCKINGJAY)
    known.fill(objective, MOCKINGJAY)
    assert known.unused() == set()
    x, altered = known.input("x"), known.given["frames"].bool()[..., None].repeat(1, 1, 80)
    if method == "tera":
        for row, (first, last) in enumerate(known.given["bands"].tolist()):
            altered[row, :, first:last] = True
    shown = x.masked_fill(altered, 0.0)
    if method == "tera":
        shown = shown + 0.2 * known.input("noise")

    def apply(self: CorruptionConfig, features: Features, generator: torch.Generator) -> Corrupted:
        return Corrupted(Features(shown, features.lengths, features.rate), altered)

    monkeypatch.setattr(CorruptionConfig, "apply", apply)
    loss = loss_of(encoder, objective, [x])
    assert float(loss.total.detach()) == pytest.approx(known.returned["loss"], **CLOSE)
    loss.total.backward()
    compared = sum(known.check_gradients(module, MOCKINGJAY, 1e-6) for module in (encoder, objective))
    assert compared == len(known.gradients)


APC = {
    r"^layers\.(\d+)\.rnn\.": r"rnn_layers.\1.",
    r"^quantisers\.3\.quantiser\.logits\.": "vq_layers.0.vq_logits.",
    r"^head\.": "postnet.",
}


@pytest.mark.parametrize("method", ["apc", "vq-apc"])
def test_autoregressive_coding(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """VQ-APC's noise is that of given uniform numbers."""
    known, changes = Published(method.replace("-", "_")), {"width": 32, "dropout": 0.0}
    if method == "vq-apc":
        quantiser = get_recipe(method, "paper").encoder.quantiser  # type: ignore[attr-defined]
        changes["quantiser"] = quantiser.replace(entries=7)
    encoder, objective = shrunk(method, changes)
    known.fill(encoder, APC, skip="codebook")
    known.fill(objective, APC)
    if method == "vq-apc":
        codebook: torch.Tensor = encoder.quantisers["3"].quantiser.codebook  # type: ignore[index,union-attr,assignment]
        with torch.no_grad():
            codebook.copy_(known.weight("vq_layers.0.codebook_CxE.weight").T[None])
        uniform = torch.special.ndtr(known.input("gumbel"))

        def noise(drawn: torch.Tensor) -> torch.Tensor:
            # The last tokens have no frame to predict.
            own = -(-uniform.log()).log().unsqueeze(2)
            return torch.nn.functional.pad(own, (0, 0, 0, 0, 0, drawn.shape[1] - own.shape[1]))

        monkeypatch.setattr(inner_codes, "gumbel_noise", noise)
    assert known.unused() == set()
    loss = loss_of(encoder, objective, [known.input("x")])
    assert float(loss.total.detach()) == pytest.approx(known.returned["loss"], **CLOSE)
    loss.total.backward()
    compared = sum(known.check_gradients(module, APC, 1e-6) for module in (encoder, objective))
    assert compared == len(known.gradients) - (method == "vq-apc")

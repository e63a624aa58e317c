"""An encoder with a classifier on its clip vector, and the learning rate of each parameter."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from auricle.audio.batch import Audio, Features
from auricle.audio.frontends.frontend import FrontEnd
from auricle.encoders.contract import Encoder
from auricle.encoders.frozen import FrozenEncoder
from auricle.errors import ConfigError
from auricle.extras import require
from auricle.finetuning.config import FinetuneConfig
from auricle.models.clip_heads import LinearHead
from auricle.probes.contract import linear_init
from auricle.probes.losses import LossConfig
from auricle.training.optimiser import free_of_decay, named_parameters


class TunedModel(nn.Module):
    """Front end, encoder, and a linear classifier on the clip vector that is read of the encoder.

    Attributes:
        encoder: its own copy, to be trained.
        head: the classifier, `(D', C)`.
        depth: L, number of blocks.
        depth_of: depth of each of the encoder's parameters, see `parameter_depths`.
        trains_encoder: whether anything besides the head is trained.
    """

    def __init__(self, frozen: FrozenEncoder, classes: int, config: FinetuneConfig, seed: int) -> None:
        """Copy the encoder and put a new head on it.

        Raises:
            ConfigError: the encoder has no parameters to train, no blocks to choose from, no stochastic depth to set,
                or no settings to rebuild it from.
            MissingExtraError: `lora` without peft.
        """
        super().__init__()
        # In a tuple, so that it is no submodule: it is shared with the frozen encoder, and never trained.
        self._frontend = (frozen.frontend,)
        self.norm, self.features = config.norm, frozen.features
        self.encoder = _copy(frozen, config)
        # Before updates are added: names and gradients are those of the plain encoder.
        self.depth_of, self.depth = parameter_depths(self.encoder, frozen)
        self.head = nn.Linear(frozen.pooled_width, classes)
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            self.head.weight.copy_(linear_init((classes, frozen.pooled_width), frozen.pooled_width, generator))
            self.head.bias.zero_()
        self._choose(frozen, config, seed)
        self.trains_encoder = any(p.requires_grad for p in self.encoder.parameters())

    @property
    def frontend(self) -> FrontEnd:
        """The front end."""
        return self._frontend[0]

    def forward(self, features: Features) -> Tensor:
        """Return logits `(B, C)` of features short enough for one pass of the encoder."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and self.trains_encoder):
            moments = self.features.read(self.encoder, features)[1]
            pooled = self.features.summary(moments)
        return self.classify(pooled)

    def classify(self, pooled: Tensor) -> Tensor:
        """Return logits `(B, C)` of clip vectors `(B, D')`, in float32."""
        with torch.autocast(pooled.device.type, enabled=False):
            x = pooled.float()
            return self.head(F.layer_norm(x, x.shape[-1:]) if self.norm == "layer" else x)

    def learn(self) -> None:
        """Switch to training mode; an encoder that is not trained stays in evaluation mode."""
        self.train()
        self.encoder.train(self.trains_encoder)

    @contextmanager
    def frozen(self, precision: str) -> Iterator[FrozenEncoder]:
        """Provide the encoder in its present state for clips of any length; training continues afterwards."""
        learning = [p for p in self.encoder.parameters() if p.requires_grad]
        self.eval()
        try:
            probe = FrozenEncoder(
                self.frontend, self.encoder, name="", fingerprint="tuned", precision=precision, features=self.features
            )
            yield probe.to(next(self.head.parameters()).device)
        finally:
            for p in learning:
                p.requires_grad_(True)

    @torch.no_grad()
    def predict(self, audio: Audio, precision: str = "fp32") -> Tensor:
        """Return logits `(B, C)` of whole clips in evaluation mode; long ones are read window by window."""
        with self.frozen(precision) as probe:
            return self.classify(probe.encode(audio)[1])

    def trained(self) -> dict[str, Tensor]:
        """Return what training changes: trainable parameters, and the buffers of a trained encoder."""
        tensors: dict[str, Tensor] = {name: p for name, p in self.named_parameters() if p.requires_grad}
        if self.trains_encoder:
            tensors |= {f"encoder.{name}": b for name, b in self.encoder.named_buffers()}
        return {name: t.detach() for name, t in tensors.items()}

    @torch.no_grad()
    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Load the tensors that `trained` returned."""
        own = self.trained()
        if own.keys() != tensors.keys():
            raise ConfigError(
                "these weights are of a model that was fine-tuned with other settings; start from scratch"
            )
        for name, tensor in own.items():
            tensor.copy_(tensors[name])

    def saved_head(self, classes: tuple[str, ...], loss: LossConfig) -> LinearHead:
        """Return the classifier as a head of a fitted model."""
        weight, bias = self.head.weight.detach().cpu(), self.head.bias.detach().cpu()
        return LinearHead(
            kind="clips", classes=classes, single=loss.single, weight=weight, bias=bias, norm=self.norm == "layer",
            loss=loss,
        )  # fmt: skip

    @property
    def params(self) -> int:
        """Number of trained parameters, head included."""
        return sum(p.numel() for p in self.parameters() if p.requires_grad)

    def optimiser(self, config: FinetuneConfig) -> tuple[torch.optim.AdamW, list[float]]:
        """Build AdamW over all trainable parameters; return the peak learning rate of each group too."""
        free = free_of_decay(self.encoder, self.head)
        groups: dict[tuple[float, bool], list[nn.Parameter]] = {}
        for name, parameter in named_parameters(self.encoder, self.head):
            groups.setdefault((self._rate(name, config), name not in free), []).append(parameter)
        peaks = [rate for rate, _ in groups]
        made = [
            {"params": members, "lr": rate, "weight_decay": config.weight_decay if decays else 0.0}
            for (rate, decays), members in groups.items()
        ]
        return torch.optim.AdamW(made, fused=True), peaks

    def _rate(self, name: str, config: FinetuneConfig) -> float:
        room, _, inner = name.partition(".")
        if room == "objective":
            return config.head_lr
        if config.mode == "lora":
            return config.rate
        # The head and everything after the last block count as the layer after it, the tokenizer as layer 0.
        return config.rate * config.layer_decay ** (self.depth + 1 - self.depth_of[inner])

    def _choose(self, frozen: FrozenEncoder, config: FinetuneConfig, seed: int) -> None:
        """Mark the parameters to train."""
        self.encoder.requires_grad_(False)
        if config.mode == "head":
            return
        if not any(True for _ in self.encoder.parameters()):
            raise ConfigError(f"{frozen.name} has no weights to fine-tune; set --mode head, or another encoder")
        if config.mode == "lora":
            _add_lora(self.encoder, set(self._blocks()), config, seed)
            return
        least = 0
        if config.mode == "last_n":
            if not self._blocks() or config.last_n > self.depth:
                raise ConfigError(
                    f"{frozen.name} has {self.depth if self._blocks() else 'no'} blocks, and last_n asks for the last "
                    f"{config.last_n}; lower --last-n, or set --mode full"
                )
            least = self.depth - config.last_n + 1
        for name, parameter in self.encoder.named_parameters():
            parameter.requires_grad_(self.depth_of[name] >= least)

    def _blocks(self) -> list[str]:
        """Names of the parameters that lie in blocks."""
        return [name for name, depth in self.depth_of.items() if 1 <= depth <= self.depth]


def parameter_depths(encoder: Encoder, frozen: FrozenEncoder) -> tuple[dict[str, int], int]:
    """Return the depth of each parameter, and L: 0 before the first block, 1 ... L in a block, L + 1 after them.

    Blocks are the list of L modules that every encoder of depth L holds. A parameter lies before them if the hidden
    states before the first block (layer 0) depend on it, found by their gradient; all others lie after them.
    (AudioMosaic's released code counts a norm before the first block among the others.)
    """
    depth = encoder.depth
    lists = [
        name for name, module in encoder.named_modules() if isinstance(module, nn.ModuleList) and len(module) == depth
    ]
    # Other lists may have the same length (stacked convolutional positions): prefer the one called blocks.
    lists.sort(key=lambda name: name.split(".")[-1] != "blocks")
    named = dict(encoder.named_parameters())
    depths = dict.fromkeys(named, depth + 1)
    for name in named:
        for home in lists[:1] if depth else []:
            if name.startswith(f"{home}."):
                depths[name] = int(name[len(home) + 1 :].split(".")[0]) + 1
    outside = [name for name, d in depths.items() if d == depth + 1]
    for name in _before_blocks(encoder, frozen, outside):
        depths[name] = 0
    return depths, depth


def _before_blocks(encoder: Encoder, frozen: FrozenEncoder, names: list[str]) -> list[str]:
    if not names:
        return []
    samples = max(1, round(0.5 * frozen.rate))
    with torch.no_grad():
        audio = Audio(torch.zeros(1, samples), torch.tensor([samples]), frozen.rate).to(frozen.device)
        features = frozen.frontend(audio)
    if encoder.max_frames is not None and features.x.shape[1] > encoder.max_frames:
        most = encoder.max_frames
        features = Features(features.x[:, :most], features.lengths.clamp(max=most), features.rate, features.pad)
    parameters = [p for name, p in encoder.named_parameters() if name in set(names)]
    flags = [p.requires_grad for p in parameters]
    for p in parameters:
        p.requires_grad_(True)
    with torch.enable_grad():
        tokens = encoder.tokenize(features)
        reached = [tokens.x, tokens.cls]
        for layer in encoder.contextualize(tokens, (0,)).layers or ():
            reached += [layer.block, layer.cls]
        total = sum((x.float().sum() for x in reached if x is not None), torch.zeros((), device=features.x.device))
        used = torch.autograd.grad(total, parameters, allow_unused=True) if total.requires_grad else [None] * len(names)
    for p, flag in zip(parameters, flags, strict=True):
        p.requires_grad_(flag)
    return [name for name, gradient in zip(names, used, strict=True) if gradient is not None]


def _copy(frozen: FrozenEncoder, config: FinetuneConfig) -> Encoder:
    settings: Any = getattr(frozen.encoder, "config", None)
    if config.drop_path is None:
        return copy.deepcopy(frozen.encoder)
    if settings is None or not hasattr(settings, "drop_path"):
        raise ConfigError(f"{frozen.name} has no stochastic depth; leave drop_path out")
    fresh: Encoder = settings.replace(drop_path=config.drop_path).build(torch.Generator().manual_seed(0))
    fresh.load_state_dict(frozen.encoder.state_dict())
    return fresh.to(frozen.device)


def _add_lora(encoder: Encoder, blocks: set[str], config: FinetuneConfig, seed: int) -> None:
    """Add low-rank updates to the linear layers of the blocks (of the whole encoder where it has none)."""
    peft = require("peft", extra="finetune")
    linear = [
        name
        for name, module in encoder.named_modules()
        if isinstance(module, nn.Linear) and (not blocks or f"{name}.weight" in blocks)
    ]
    if not linear:
        raise ConfigError("the encoder has no linear layers to add low-rank updates to; set --mode full")
    settings = peft.LoraConfig(
        r=config.lora_rank,
        lora_alpha=config.lora_alpha,
        lora_dropout=config.lora_dropout,
        target_modules=linear,
        bias="none",
    )
    # peft draws from the global generator.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        peft.inject_adapter_in_model(settings, encoder)
    for name, parameter in encoder.named_parameters():
        parameter.requires_grad_("lora_" in name)


def plain_encoder(encoder: Encoder) -> Encoder:
    """Return a copy of the encoder in evaluation mode, low-rank updates merged into its weights."""
    plain = copy.deepcopy(encoder).eval().requires_grad_(False)
    for name, module in list(plain.named_modules()):
        if hasattr(module, "get_base_layer") and hasattr(module, "merge"):
            module.merge()
            home, _, last = name.rpartition(".")
            setattr(plain.get_submodule(home) if home else plain, last, module.get_base_layer())
    return plain

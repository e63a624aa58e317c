"""Binarised prototypes at one bit an element: 32 times smaller than float32, and predictions equal to the last bit."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import safetensors
import safetensors.torch
import torch
from torch import Tensor

from auricle.errors import CheckpointError, ConfigError
from auricle.probes.contract import ProbeConfig
from auricle.probes.fitted import FittedProbe, Trial
from auricle.probes.heads.protobin import Protobin, ProtobinConfig
from auricle.probes.losses import LossConfig
from auricle.probes.search.config import SearchConfig
from auricle.storage import write_atomic
from auricle.tokens.token_set import TokenSet, TokenShape

FILE = "prototypes.safetensors"
_FORMAT = 1
_MARK = "auricle.prototype_bits"


@dataclass(frozen=True)
class PackedProbe:
    """A fitted protobin probe whose prototypes are bits.

    Attributes:
        bits: `(P, ceil(D / 8))` uint8, bit 1 for +1; the first element of a prototype is the highest bit.
        weight: `(C, P)` float32 of the dense mixer, `(C, J)` of the block one.
        bias: `(C,)` float32.
        record: what else the probe is: settings, shape, classes, loss, encoder, layer, chosen setting; JSON data.
    """

    bits: np.ndarray
    weight: Tensor
    bias: Tensor
    record: dict[str, Any]

    @classmethod
    def pack(cls, fitted: FittedProbe) -> Self:
        """Pack a fitted probe.

        Raises:
            ConfigError: it is no binarised probe, or it predicts numbers instead of labels.
        """
        config, head = fitted.config, fitted.head
        if not isinstance(config, ProtobinConfig) or not isinstance(head, Protobin) or config.values != "sign":
            name = config.to_json()
            raise ConfigError(f"only binarised prototypes can be packed to bits, found {name}; fit a 'protobin' probe")
        if fitted.scaling is not None:
            raise ConfigError("this probe predicts numbers; only probes of labels are packed to bits")
        signs = head.prototypes.detach()[0].cpu().numpy() >= 0
        record = {
            "format": _FORMAT,
            "config": config.to_json(),
            "shape": asdict(fitted.shape),
            "classes": list(fitted.classes),
            "loss": fitted.loss.to_json(),
            "search": fitted.search.to_json(),
            "metric": fitted.metric,
            "trial": asdict(replace(fitted.trial, scores=[], watched={}, reruns=[])),
            "seed": fitted.seed,
            "encoder": fitted.encoder,
            "layer": fitted.layer,
            "notes": list(fitted.notes),
        }
        weight, bias = (p.detach()[0].clone() for p in (head.weight, head.bias))
        return cls(np.packbits(signs, axis=1), weight, bias, record)

    @property
    def prototype_bytes(self) -> int:
        """Bytes of the prototypes; as float32 they take 32 times as many (D a multiple of eight)."""
        return self.bits.nbytes

    @property
    def nbytes(self) -> int:
        """Bytes of prototypes, mixer and bias."""
        return self.bits.nbytes + 4 * (self.weight.numel() + self.bias.numel())

    def unpack(self) -> FittedProbe:
        """Return the probe with prototypes of +-1: it predicts exactly what the packed one's origin predicts."""
        record = self.record
        config, shape = ProbeConfig.from_json(record["config"]), TokenShape(**record["shape"])
        head = config.build(shape, len(record["classes"]), settings=1, generator=torch.Generator())
        signs = np.unpackbits(self.bits, axis=1, count=shape.width).astype(np.float32) * 2 - 1
        state = {"prototypes": torch.from_numpy(signs), "weight": self.weight, "bias": self.bias}
        head.load_state_dict({name: tensor.unsqueeze(0) for name, tensor in state.items()})
        return FittedProbe(
            config=config,
            head=head.eval(),
            shape=shape,
            classes=tuple(record["classes"]),
            loss=LossConfig.from_json(record["loss"]),
            search=SearchConfig.from_json(record["search"]),
            metric=record["metric"],
            trials=[Trial(**record["trial"])],
            chosen=0,
            seed=record["seed"],
            encoder=record["encoder"],
            layer=record["layer"],
            notes=tuple(record["notes"]),
        )

    def logits(self, tokens: TokenSet) -> Tensor:
        """Return logits `(n, C)` float32; see `FittedProbe.logits`."""
        return self.unpack().logits(tokens)

    def predict(self, tokens: TokenSet) -> np.ndarray:
        """Return class probabilities `(n, C)` float32; see `FittedProbe.predict`."""
        return self.unpack().predict(tokens)

    def save(self, folder: Path | str) -> Path:
        """Write `prototypes.safetensors` into a folder, atomically.

        Raises:
            StorageError: the disk is full or the folder can't be written.
        """
        state = {"bits": torch.from_numpy(self.bits), "weight": self.weight, "bias": self.bias}
        path = Path(folder) / FILE
        data = safetensors.torch.save(
            {name: tensor.contiguous() for name, tensor in state.items()}, metadata={_MARK: json.dumps(self.record)}
        )
        write_atomic(path, data)
        return path

    @classmethod
    def load(cls, folder: Path | str) -> Self:
        """Read a packed probe back, from its folder or its file.

        Raises:
            CheckpointError: there is none, or the file is damaged or something else.
        """
        path = Path(folder)
        path = path / FILE if path.is_dir() else path
        if not path.is_file():
            raise CheckpointError(f"no packed prototypes at {path}; pack a fitted probe and save it there")
        try:
            with safetensors.safe_open(path, framework="pt") as file:
                metadata = file.metadata() or {}
                state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
        except (safetensors.SafetensorError, OSError) as error:
            raise CheckpointError(f"{path} is damaged ({error}); pack the probe again") from error
        record = json.loads(metadata.get(_MARK, "{}"))
        if record.get("format") != _FORMAT or set(state) != {"bits", "weight", "bias"}:
            raise CheckpointError(f"{path} holds no packed prototypes of this auricle; pack the probe again")
        return cls(state["bits"].numpy(), state["weight"], state["bias"], record)

"""Binarised prototypes at one bit an element: 32 times smaller than float32, with identical predictions."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from auricle.errors import CheckpointError, ConfigError
from auricle.probes.fitted import FittedProbe, read_record, write_record
from auricle.probes.heads.protobin import Protobin, ProtobinConfig
from auricle.tokens.token_set import TokenSet

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
        record: the rest of the probe: settings, shape, classes, loss, encoder, layer, chosen setting; JSON data.
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
        trial = asdict(replace(fitted.trial, scores=[], watched={}, reruns=[]))
        record = {key: value for key, value in fitted.record().items() if key not in ("trials", "chosen", "scaling")}
        weight, bias = (p.detach()[0].clone() for p in (head.weight, head.bias))
        return cls(np.packbits(signs, axis=1), weight, bias, {**record, "format": _FORMAT, "trial": trial})

    @property
    def prototype_bytes(self) -> int:
        """Bytes of the prototypes; as float32 they take 32 times as many (D a multiple of eight)."""
        return self.bits.nbytes

    @property
    def nbytes(self) -> int:
        """Bytes of prototypes, mixer and bias."""
        return self.bits.nbytes + 4 * (self.weight.numel() + self.bias.numel())

    def unpack(self) -> FittedProbe:
        """Return the probe with prototypes of +-1, whose predictions equal those of the original."""
        width = self.record["shape"]["width"]
        signs = np.unpackbits(self.bits, axis=1, count=width).astype(np.float32) * 2 - 1
        weights = {"prototypes": torch.from_numpy(signs), "weight": self.weight, "bias": self.bias}
        record = {**self.record, "trials": [self.record["trial"]], "chosen": 0}
        return FittedProbe.from_record(record, {name: tensor.unsqueeze(0) for name, tensor in weights.items()})

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
        return write_record(Path(folder) / FILE, _MARK, self.record, state)

    @classmethod
    def load(cls, folder: Path | str) -> Self:
        """Read a packed probe from its folder or its file.

        Raises:
            CheckpointError: there is none, or the file is damaged or something else.
        """
        path, record, state = read_record(folder, FILE, _MARK)
        if record.get("format") != _FORMAT or set(state) != {"bits", "weight", "bias"}:
            raise CheckpointError(f"{path} holds no packed prototypes of this auricle; pack the probe again")
        packed = cls(state["bits"].numpy(), state["weight"], state["bias"], record)
        try:
            packed.unpack()
        except (KeyError, TypeError, ValueError) as error:
            raise CheckpointError(f"{path} is damaged ({error!r}); pack the probe again") from error
        return packed

"""Text towers of transformers: any text encoder by its name on the Hub, or from a local folder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import torch
from annotated_types import Ge
from torch import Tensor

from auricle.encoders.transformers.load import explained
from auricle.errors import AuricleError, ConfigError, DownloadError
from auricle.extras import require
from auricle.objectives.text.text_tower import TextPooling, TextTower, TextTowerConfig, pool_tokens


@dataclass(frozen=True)
class PretrainedTextConfig(TextTowerConfig):
    """Settings of a text encoder of transformers.

    Attributes:
        model: a name on the Hub (`roberta-base`), or a local folder with the model and its tokenizer.
        revision: branch, tag or commit on the Hub; None: the main branch.
        weights: `pretrained`, or `random` (its architecture and tokenizer only).
        tokens: most tokens of a text; longer ones are cut.
        pooling: a text's vector: the `first` token (MS-CLAP with BERT), the `last` (with GPT-2), the `mean`, or the
            model's own `pooler` (LAION-CLAP with RoBERTa).
        frozen: do not train the tower; it then runs in evaluation mode and without gradient.
        local_only: never connect to the Hub.
    """

    model: str = "roberta-base"
    revision: str | None = None
    weights: Literal["pretrained", "random"] = "pretrained"
    tokens: Annotated[int, Ge(2)] = 77
    pooling: TextPooling = "pooler"
    frozen: bool = False
    local_only: bool = False

    def __post_init__(self) -> None:
        if not self.model:
            raise ConfigError("found no model, expected the name of a text model or its folder; set model")


class PretrainedText(TextTower):
    """A text encoder of transformers with its own tokenizer; of an encoder with a decoder only the encoder."""

    def __init__(self, config: PretrainedTextConfig, generator: torch.Generator) -> None:
        super().__init__()
        self.config, self.frozen = config, config.frozen
        self.model, self._tokenizer = _load(config, generator)
        settings = self.model.config
        self.width = int(settings.hidden_size)
        longest = getattr(settings, "max_position_embeddings", None)
        if longest is not None and config.tokens > longest:
            raise ConfigError(f"{config.model} reads at most {longest} tokens, found tokens {config.tokens}; lower it")
        pooler = getattr(self.model, "pooler", None)
        if config.pooling == "pooler" and pooler is None:
            raise ConfigError(f"{config.model} has no pooler; set pooling to first, mean or last")
        self.model.requires_grad_(not config.frozen)
        if config.pooling != "pooler" and pooler is not None:
            pooler.requires_grad_(False)
        self.train()

    def train(self, mode: bool = True) -> Self:
        super().train(mode)
        if self.frozen:
            self.model.eval()
        return self

    def tokenise(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        found = self._tokenizer(
            list(texts), padding=True, truncation=True, max_length=self.config.tokens, return_tensors="pt"
        )
        return found["input_ids"], found["attention_mask"].bool()

    def forward(self, ids: Tensor, inside: Tensor) -> Tensor:
        out = self.model(input_ids=ids, attention_mask=inside.long())
        if self.config.pooling == "pooler":
            pooled: Tensor = out.pooler_output
            return pooled
        return pool_tokens(out.last_hidden_state, inside, self.config.pooling)


def _load(config: PretrainedTextConfig, generator: torch.Generator) -> tuple[Any, Any]:
    library = require("transformers", extra="hub")
    where: dict[str, Any] = {"revision": config.revision, "local_files_only": config.local_only}
    seed = int(torch.randint(2**62, (), generator=generator))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        try:
            settings = library.AutoConfig.from_pretrained(config.model, **where)
            tokenizer = library.AutoTokenizer.from_pretrained(config.model, **where)
            if config.weights == "random":
                model = library.AutoModel.from_config(settings)
            else:
                model = library.AutoModel.from_pretrained(config.model, config=settings, use_safetensors=True, **where)
        except (OSError, ValueError, KeyError, ImportError, TypeError) as error:
            raise _absent(error, config.model) from error
    if getattr(settings, "is_encoder_decoder", False):
        model = model.get_encoder()
    if tokenizer.pad_token is None:
        if tokenizer.eos_token is None:
            raise ConfigError(f"the tokenizer of {config.model} has no padding token and no end token to pad with")
        tokenizer.pad_token = tokenizer.eos_token
    return model.float(), tokenizer


def _absent(error: Exception, model: str) -> AuricleError:
    """Return the error for a text encoder that can't be opened, with the tower that needs no download."""
    way = "or set objective.text to WordTowerConfig, a small text tower that needs no download"
    if Path(model).is_dir() and not (Path(model) / "config.json").is_file():
        return ConfigError(
            f"the text encoder {model} is a folder without config.json: save model and tokenizer there "
            f"(save_pretrained), {way}"
        )
    if Path(model).is_dir() and "okenizer" in str(error):
        first = str(error).strip().splitlines()[0]
        return ConfigError(
            f"the text encoder {model} has no usable tokenizer beside its weights ({first}); save it there "
            f"(tokenizer.save_pretrained), {way}"
        )
    reason = explained(error, model)
    made = DownloadError if isinstance(reason, DownloadError) else ConfigError
    return made(f"the text encoder {model} can't be opened: {reason}; {way}")

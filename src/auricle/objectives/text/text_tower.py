"""The contract of text towers, and the one that needs no download: a small BERT over the words of the captions.

Letters in shapes: B texts, L tokens of the longest one, W width of a text's vector.
"""

from __future__ import annotations

import re
import unicodedata
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from annotated_types import Ge
from torch import Tensor, nn

from auricle.config import Config, Count, ShareBelowOne
from auricle.errors import ConfigError
from auricle.extras import require

TextPooling = Literal["mean", "first", "last", "pooler"]
_PAD, _UNKNOWN, _START = 0, 1, 2
_SPECIAL = 3
_WORD = re.compile(r"\w+")


@dataclass(frozen=True)
class TextTowerConfig(Config, ABC, section="text"):
    """Base of the settings of text towers."""

    def build(self, generator: torch.Generator) -> TextTower:
        """Build the tower, its random weights drawn from the generator.

        Raises:
            MissingExtraError: transformers is not installed.
            ConfigError: the text encoder can't be opened.
            DownloadError: the text encoder is on the Hub, which can't be reached.
        """
        return self.built_class()(self, generator)


class TextTower(nn.Module, ABC):
    """Base of text towers: texts in, one vector each out.

    Attributes:
        width: W.
        frozen: whether the tower is not trained; its vectors then have no gradient.
    """

    width: int
    frozen: bool = False

    def learn_words(self, texts: Sequence[str]) -> None:
        """Take the vocabulary from the captions of a corpus, where the tower has none yet.

        Raises:
            ConfigError: the tower needs words, and the captions hold none.
        """

    def unknown_words(self, texts: Sequence[str]) -> list[tuple[str, ...]]:
        """Return, for each text, its words that share one token with all other unknown words.

        None of them, for a tower that tokenises any text.
        """
        return [() for _ in texts]

    @abstractmethod
    def tokenise(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Return token numbers `(B, L)` int64 and `(B, L)` bool, False for padding; both on the CPU.

        Raises:
            ConfigError: the tower has no vocabulary yet.
        """

    @abstractmethod
    def forward(self, ids: Tensor, inside: Tensor) -> Tensor:
        """Return a vector `(B, W)` of each text."""

    def embed(self, texts: Sequence[str]) -> Tensor:
        """Return a vector `(B, W)` of each text, without gradient where the tower is frozen."""
        ids, inside = self.tokenise(texts)
        device = next(self.parameters()).device
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen):
            vectors: Tensor = self(ids.to(device), inside.to(device))
        return vectors


def pool_tokens(x: Tensor, inside: Tensor, pooling: TextPooling) -> Tensor:
    """Return `(B, W)` from tokens `(B, L, W)`: the mean of the valid ones, the first, or the last valid one."""
    if pooling == "first":
        return x[:, 0]
    if pooling == "last":
        # Padding may be before the text or after it.
        place = torch.arange(x.shape[1], device=x.device)
        last = torch.where(inside, place, -1).amax(1).clamp(min=0)
        return x[torch.arange(len(x), device=x.device), last]
    weight = inside.unsqueeze(-1).to(x.dtype)
    return (x * weight).sum(1) / weight.sum(1).clamp(min=1)


def split_words(text: str) -> list[str]:
    """Return the words of a text: runs of letters and digits, in lower case, in Unicode's NFKC form."""
    return _WORD.findall(unicodedata.normalize("NFKC", text).casefold().replace("_", " "))


@dataclass(frozen=True)
class WordTowerConfig(TextTowerConfig):
    """Settings of a small BERT (transformers) with random weights, over the words of the corpus's captions.

    Attributes:
        words: number of words in the vocabulary: the most frequent ones of the captions, ties by the alphabet; other
            words share one vector.
        letters: bytes of a word that are kept.
        width: W.
        depth: layers.
        heads: attention heads.
        tokens: most words of a text; longer ones are cut.
        dropout: in hidden layers and attention.
        pooling: `mean` of the words, or the `first` token, which precedes them.
        frozen: keep the random weights.
    """

    words: Count = 2048
    letters: Count = 24
    width: Count = 128
    depth: Count = 2
    heads: Count = 2
    tokens: Annotated[int, Ge(2)] = 32
    dropout: ShareBelowOne = 0.0
    pooling: Literal["mean", "first"] = "mean"
    frozen: bool = False

    def __post_init__(self) -> None:
        if self.width % self.heads:
            raise ConfigError(
                f"found a text tower of width {self.width} with {self.heads} heads; expected a multiple of the heads"
            )


class WordTower(TextTower):
    """A BERT over words. The vocabulary is in a buffer of fixed size, so that a checkpoint can embed new texts.

    Source: BERT, arXiv 1810.04805, section 3 (layers as in transformers' `BertModel`, weights drawn with a standard
    deviation of 0.02); the vocabulary of words is a choice.
    """

    words: Tensor

    def __init__(self, config: WordTowerConfig, generator: torch.Generator) -> None:
        super().__init__()
        library = require("transformers", extra="hub")
        self.config, self.width, self.frozen = config, config.width, config.frozen
        settings = library.BertConfig(
            vocab_size=config.words + _SPECIAL,
            hidden_size=config.width,
            num_hidden_layers=config.depth,
            num_attention_heads=config.heads,
            intermediate_size=4 * config.width,
            max_position_embeddings=config.tokens,
            type_vocab_size=1,
            hidden_dropout_prob=config.dropout,
            attention_probs_dropout_prob=config.dropout,
            pad_token_id=_PAD,
        )
        with torch.random.fork_rng(devices=[]):  # transformers draws from torch's global generator
            self.bert = library.BertModel(settings, add_pooling_layer=False)
        self._draw(generator)
        self.bert.requires_grad_(not config.frozen)
        self.register_buffer("words", torch.zeros(config.words, config.letters, dtype=torch.uint8))
        self._places: dict[bytes, int] | None = None

    @torch.no_grad()
    def _draw(self, generator: torch.Generator) -> None:
        for module in self.bert.modules():
            if isinstance(module, nn.Linear | nn.Embedding):
                module.weight.normal_(0.0, 0.02, generator=generator)
            if isinstance(module, nn.Embedding) and module.padding_idx is not None:
                module.weight[module.padding_idx].zero_()
            if isinstance(module, nn.Linear) and module.bias is not None:
                module.bias.zero_()

    def _load_from_state_dict(self, *args: object, **kwargs: object) -> None:
        super()._load_from_state_dict(*args, **kwargs)
        self._places = None  # to be read again from the buffer

    def learn_words(self, texts: Sequence[str]) -> None:
        if self.places:
            return
        counts = Counter(word for text in texts for word in split_words(text))
        if not counts:
            raise ConfigError(
                f"none of the {len(texts)} captions holds a word (of letters or digits), the first are "
                f"{list(texts[:3])}; name columns that hold texts (objective.columns), or correct the captions"
            )
        chosen = sorted(counts, key=lambda word: (-counts[word], word))
        kept = dict.fromkeys(self._cut(word) for word in chosen)
        self.words.zero_()
        for row, word in zip(self.words, kept, strict=False):
            row[: len(word)] = torch.tensor(list(word), dtype=torch.uint8)
        self._places = None

    def unknown_words(self, texts: Sequence[str]) -> list[tuple[str, ...]]:
        places = self.places
        return [tuple(word for word in split_words(text) if self._cut(word) not in places) for text in texts]

    def tokenise(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        places, most = self.places, self.config.tokens
        if not places:
            raise ConfigError(
                "the text tower has no words yet; pass the captions of a corpus (take_columns), or load a checkpoint"
            )
        rows = [[_START, *(places.get(self._cut(w), _UNKNOWN) for w in split_words(text))][:most] for text in texts]
        ids = torch.full((len(rows), max(map(len, rows), default=1)), _PAD)
        for target, row in zip(ids, rows, strict=True):
            target[: len(row)] = torch.tensor(row)
        lengths = torch.tensor([len(row) for row in rows])
        return ids, torch.arange(ids.shape[1]) < lengths[:, None]

    @property
    def places(self) -> dict[bytes, int]:
        """The vocabulary: each word's bytes and its token number."""
        if self._places is None:
            rows = [bytes(row).rstrip(b"\0") for row in self.words.cpu().tolist()]
            self._places = {word: _SPECIAL + place for place, word in enumerate(rows) if word}
        return self._places

    def _cut(self, word: str) -> bytes:
        return word.encode()[: self.config.letters]

    def forward(self, ids: Tensor, inside: Tensor) -> Tensor:
        out: Tensor = self.bert(input_ids=ids, attention_mask=inside.long()).last_hidden_state
        return pool_tokens(out, inside, self.config.pooling)

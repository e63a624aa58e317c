"""What every text tower promises, and the one that needs no download: a small BERT over the words of the captions.

Letters in shapes: B texts, L tokens of the longest one, W width of a text's vector.
"""

from __future__ import annotations

import re
import unicodedata
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from auricle.config import Config, nearest
from auricle.errors import ConfigError
from auricle.extras import require

TextPooling = Literal["mean", "first", "last", "pooler"]
_PAD, _UNKNOWN, _START = 0, 1, 2
_SPECIAL = 3
_WORD = re.compile(r"\w+")


@dataclass(frozen=True)
class TextTowerConfig(Config, ABC):
    """Base of the settings of text towers."""

    @abstractmethod
    def build(self, generator: torch.Generator) -> TextTower:
        """Build the tower, whatever is random in it drawn from the generator."""


class TextTower(nn.Module, ABC):
    """Base of text towers: texts in, one vector each out.

    Attributes:
        width: W.
        frozen: whether nothing in it is trained; its vectors then carry no gradient.
    """

    width: int
    frozen: bool = False

    def learn_words(self, texts: Sequence[str]) -> None:
        """Take the vocabulary from the captions of a corpus, where the tower has none yet.

        Raises:
            ConfigError: the tower needs words, and the captions hold none.
        """

    def unknown_words(self, texts: Sequence[str]) -> list[tuple[str, ...]]:
        """Return, for each text, its words that the tower can't tell apart from other unknown ones.

        None, for a tower that spells out whatever it reads.
        """
        return [() for _ in texts]

    @abstractmethod
    def tokenise(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Return token numbers `(B, L)` int64 and which of them are no padding, `(B, L)` bool; both on the CPU.

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
        # Wherever padding stands, before the text or after it.
        place = torch.arange(x.shape[1], device=x.device)
        last = torch.where(inside, place, -1).amax(1).clamp(min=0)
        return x[torch.arange(len(x), device=x.device), last]
    weight = inside.unsqueeze(-1).to(x.dtype)
    return (x * weight).sum(1) / weight.sum(1).clamp(min=1)


def split_words(text: str) -> list[str]:
    """Return the words of a text: runs of letters and digits, in lower case, compatible characters made one."""
    return _WORD.findall(unicodedata.normalize("NFKC", text).casefold().replace("_", " "))


@dataclass(frozen=True)
class WordTowerConfig(TextTowerConfig):
    """Settings of a small BERT (transformers) with random weights, over the words of the corpus's captions.

    Attributes:
        words: size of the vocabulary: the commonest words of the captions; other words share one vector.
        letters: bytes of a word that are kept.
        width: W.
        depth: layers.
        heads: attention heads.
        tokens: most words of a text; longer ones are cut.
        dropout: in hidden layers and attention.
        pooling: `mean` of the words, or the `first` token, which stands before them.
        frozen: leave it as it was drawn.
    """

    words: int = 2048
    letters: int = 24
    width: int = 128
    depth: int = 2
    heads: int = 2
    tokens: int = 32
    dropout: float = 0.0
    pooling: TextPooling = "mean"
    frozen: bool = False

    def __post_init__(self) -> None:
        if min(self.words, self.letters, self.width, self.depth, self.heads) < 1 or self.width % self.heads:
            raise ConfigError(
                f"found words {self.words}, letters {self.letters}, width {self.width}, depth {self.depth}, heads "
                f"{self.heads}; expected positive numbers, and a width that divides into the heads"
            )
        if self.tokens < 2 or not 0 <= self.dropout < 1:
            raise ConfigError(f"found tokens {self.tokens} and dropout {self.dropout}; expected at least 2, and 0 to 1")
        known = ("mean", "first")
        if self.pooling not in known:
            raise ConfigError(f"unknown pooling {self.pooling!r} of words{nearest(str(self.pooling), known)}")


class WordTower(TextTower):
    """A BERT over words. The vocabulary is in buffers of a fixed size, so that a checkpoint can embed new texts.

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
                f"{list(texts[:3])}: the text tower has nothing to learn; name columns that hold texts "
                "(objective.columns), or mend the captions"
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
                "the text tower has no words yet: it takes them from the captions of a corpus (take_columns), or from "
                "a checkpoint"
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


def check_pooling_name(pooling: str) -> None:
    """Refuse an unknown pooling.

    Raises:
        ConfigError: naming the nearest one.
    """
    if pooling not in get_args(TextPooling):
        raise ConfigError(f"unknown pooling {pooling!r} of text tokens{nearest(str(pooling), get_args(TextPooling))}")

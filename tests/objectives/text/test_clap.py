"""CLAP against the library's loss, text towers against its models; captions, gradient caching, checkpoints."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from transformers import BertConfig, BertModel, BertTokenizerFast
from transformers.models.clap.modeling_clap import contrastive_loss

from auricle.audio.batch import Features
from auricle.encoders.slice_cnn import SliceCNNConfig
from auricle.encoders.spectrogram_transformer import SpectrogramTransformerConfig
from auricle.errors import ConfigError, DownloadError
from auricle.objectives.contract import View
from auricle.objectives.contrastive.gradient_cache import cached_backward
from auricle.objectives.predictive.heads import MlpHeadConfig
from auricle.objectives.text.captions import caption_table
from auricle.objectives.text.clap import Clap, ClapConfig
from auricle.objectives.text.pretrained_text import PretrainedTextConfig
from auricle.objectives.text.text_tower import WordTowerConfig, pool_tokens, split_words

WORDS = WordTowerConfig(words=32, width=16, depth=1, heads=2, tokens=8)
HEAD = MlpHeadConfig(hidden=(12,), activation="relu")
CAPTIONS = ["a dog barks", "rain on a roof", ["a cat", "a small cat"], "waves", "a dog barks", "an engine idles"]


def random(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def batch(clips: int = 6) -> list[View]:
    x = torch.randn(clips, 32, 16, generator=random(), dtype=torch.float64)
    return [View(Features(x, torch.full((clips,), 32), 100.0), torch.arange(clips))]


def made(config: ClapConfig | None = None) -> tuple[torch.nn.Module, Clap]:
    encoder = SpectrogramTransformerConfig(
        width=16, depth=1, heads=2, mels=16, frames=32, drop_path=0.0, patch=(16, 16)
    ).build()
    objective = (config or ClapConfig(text=WORDS, dim=8, head=HEAD)).build(encoder)
    objective.take_columns({name: CAPTIONS for name in objective.columns})
    return encoder.double(), objective.double()


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bert")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "dog", "barks", "cat", "small", "rain", "on", "roof"]
    (folder / "vocab.txt").write_text("\n".join(words))
    BertTokenizerFast(vocab_file=str(folder / "vocab.txt")).save_pretrained(folder)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        BertModel(
            BertConfig(
                vocab_size=len(words),
                hidden_size=16,
                num_hidden_layers=1,
                num_attention_heads=2,
                intermediate_size=32,
                max_position_embeddings=16,
            )
        ).save_pretrained(folder)
    return folder


def test_the_loss_is_the_librarys() -> None:
    encoder, objective = made()
    views = batch()
    parts = objective.represent(encoder, views, objective.draw(encoder, views, random(3)))
    loss = objective.compare(parts)
    audio = torch.nn.functional.normalize(objective.audio_head(parts[0]), dim=1)
    text = torch.nn.functional.normalize(objective.text_head(parts[1]), dim=1)
    similarities = audio @ text.T / 0.07
    expected = (contrastive_loss(similarities) + contrastive_loss(similarities.T)) / 2
    torch.testing.assert_close(loss.total, expected, rtol=1e-6, atol=0)
    assert float(loss.watch["clap/scale"]) == pytest.approx(1 / 0.07, rel=1e-6)
    assert float(loss.watch["clap/chance"]) == pytest.approx(1 / 6)


def test_clips_with_the_same_caption_can_be_left_aside() -> None:
    encoder, objective = made(ClapConfig(text=WORDS, dim=8, head=HEAD, same_text="ignore"))
    views = batch()
    parts = objective.represent(encoder, views, objective.draw(encoder, views, random(3)))
    loss = objective.compare(parts)
    audio = torch.nn.functional.normalize(objective.audio_head(parts[0]), dim=1)
    text = torch.nn.functional.normalize(objective.text_head(parts[1]), dim=1)
    total = 0.0
    for a, b in ((audio, text), (text, audio)):
        for i in range(6):
            others = [j for j in range(6) if j == i or CAPTIONS[j] != CAPTIONS[i]]
            logits = a[i] @ b[others].T / 0.07
            total += (logits.logsumexp(0) - logits[others.index(i)]).item() / 12
    assert float(loss.total) == pytest.approx(total, rel=1e-6)
    assert float(loss.watch["clap/chance"]) == pytest.approx((4 / 6 + 2 / 5) / 6)


def test_gradient_caching_is_exact() -> None:
    encoder, objective = made()
    direct = objective(encoder, batch(), random(3))
    direct.total.backward()
    expected = {n: p.grad.clone() for m in (encoder, objective) for n, p in m.named_parameters() if p.grad is not None}
    assert {n for n, p in objective.named_parameters() if p.requires_grad} <= expected.keys()
    for module in (encoder, objective):
        module.zero_grad()
    cached = cached_backward(objective, encoder, batch(), random(3), micro_batch=4)
    torch.testing.assert_close(cached.total, direct.total.detach())
    for module in (encoder, objective):
        for name, parameter in module.named_parameters():
            if parameter.grad is not None:
                torch.testing.assert_close(parameter.grad, expected[name], rtol=1e-9, atol=1e-12)


def test_each_of_several_captions_is_shown_and_shuffling_takes_another_clips() -> None:
    encoder, objective = made()
    shown = {
        objective.captions.texts[int(objective.draw(encoder, batch(), random(seed))[0].index[2, 0])]
        for seed in range(20)
    }
    assert shown == {"a cat", "a small cat"}
    views = batch()
    parts = objective.represent(encoder, views, objective.draw(encoder, views, random(3)))
    objective.shuffled = True
    rolled = objective.compare(parts).total
    objective.shuffled = False
    torch.testing.assert_close(rolled, objective.compare([parts[0], parts[1].roll(1, 0), parts[2]]).total)


def test_the_temperature_stays_bounded() -> None:
    encoder, objective = made()
    with torch.no_grad():
        objective.log_scale.fill_(9.0)
    objective.after_step(encoder, 0)
    assert float(objective.log_scale.exp()) == pytest.approx(100, rel=1e-6)
    assert objective.step == 1


def test_the_vocabulary_travels_in_checkpoints_and_reads_new_texts() -> None:
    _, objective = made()
    fresh = objective.config.build(SpectrogramTransformerConfig(width=16, depth=1, heads=2, mels=16, frames=32).build())
    with pytest.raises(ConfigError, match="no words yet"):
        fresh.place_text(["a dog"])
    fresh.load_state_dict(objective.state_dict())
    torch.testing.assert_close(
        fresh.double().place_text(["A cat, on the roof!"]), objective.place_text(["a cat on the roof"])
    )
    known = dict(objective.text.places)
    objective.take_columns({"caption": ["quite other words"] * 6})
    assert objective.text.places == known
    assert split_words("Röhre_Nr. 5 - it's") == ["röhre", "nr", "5", "it", "s"]


def test_words_that_were_never_learnt_are_told(bert: Path) -> None:
    _, objective = made()
    texts = ["A siren, a dog", "rain", "..."]
    assert objective.text.unknown_words(texts) == [("siren",), (), ()]
    tower = PretrainedTextConfig(model=str(bert), tokens=8).build(random())
    assert tower.unknown_words(texts) == [(), (), ()]


def test_captions_without_a_word_teach_no_words() -> None:
    encoder = SpectrogramTransformerConfig(width=16, depth=1, heads=2, mels=16, frames=32).build()
    objective = ClapConfig(text=WORDS, dim=8, head=HEAD).build(encoder)
    with pytest.raises(ConfigError, match=r"none of the 6 captions holds a word .*'\.\.\.'.*objective\.columns"):
        objective.take_columns({"caption": ["...", "?!"] * 3})
    objective.take_columns({"caption": ["...", "rain"] * 3})
    assert set(objective.text.places) == {b"rain"}


def test_padding_of_texts_changes_nothing() -> None:
    _, objective = made()
    alone = objective.place_text(["waves"])
    torch.testing.assert_close(objective.place_text(["waves", "a dog barks on a roof of rain"])[:1], alone)
    x = torch.arange(12.0).view(1, 4, 3)
    inside = torch.tensor([[False, True, True, False]])
    assert pool_tokens(x, inside, "last").tolist() == [[6.0, 7.0, 8.0]]
    assert pool_tokens(x, inside, "mean").tolist() == [[4.5, 5.5, 6.5]]


@pytest.mark.parametrize("pooling", ["pooler", "first", "mean"])
def test_a_named_text_model_is_the_librarys(bert: Path, pooling: str) -> None:
    tower = PretrainedTextConfig(model=str(bert), pooling=pooling, tokens=8).build(random()).eval()
    texts = ["a dog barks", "rain on a small roof"]
    found = BertTokenizerFast.from_pretrained(bert)(texts, padding=True, return_tensors="pt")
    out = BertModel.from_pretrained(bert)(**found)
    expected = {
        "pooler": out.pooler_output,
        "first": out.last_hidden_state[:, 0],
        "mean": pool_tokens(out.last_hidden_state, found["attention_mask"].bool(), "mean"),
    }[pooling]
    torch.testing.assert_close(tower.embed(texts), expected)


def test_a_frozen_text_model_learns_nothing_and_stays_in_evaluation_mode(bert: Path) -> None:
    config = ClapConfig(text=PretrainedTextConfig(model=str(bert), frozen=True, tokens=8), dim=8, head=HEAD)
    encoder, objective = made(config)
    objective.train()
    assert not objective.text.model.training
    objective(encoder, batch(), random()).total.backward()
    assert all(p.grad is None for p in objective.text.parameters())
    assert all(p.grad is not None for p in objective.text_head.parameters())
    trained = ClapConfig(text=PretrainedTextConfig(model=str(bert), pooling="mean", tokens=8), dim=8, head=HEAD)
    _, objective = made(trained)
    objective(encoder, batch(), random()).total.backward()
    assert all(p.grad is not None and p.grad.any() for p in objective.text.parameters() if p.requires_grad)


def test_a_text_encoder_that_is_absent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises((DownloadError, ConfigError), match="WordTowerConfig, a small text tower"):
        PretrainedTextConfig(model="nobody/no-such-text-model", local_only=True).build(random())
    with pytest.raises(ConfigError, match=r"folder without config.json"):
        PretrainedTextConfig(model=str(tmp_path)).build(random())


def test_captions_that_are_missing_or_no_texts() -> None:
    with pytest.raises(ConfigError, match=r"2 of 3 clips have no caption in caption, the first is clip 1.*template"):
        caption_table({"caption": ["a", None, "  "]}, ("caption",))
    with pytest.raises(ConfigError, match=r"first is b/ü\.wav \(clip 1, counted from 0\)"):
        caption_table({"caption": ["a", None], "file": ["a.wav", "b/ü.wav"]}, ("caption",))
    with pytest.raises(ConfigError, match="holds int 7 for clip 0"):
        caption_table({"n": [7]}, ("n",))
    with pytest.raises(ConfigError, match=r"holds int 7 for a\.wav"):
        caption_table({"n": [7], "file": ["a.wav"]}, ("n",))
    table = caption_table({"one": ["a", None], "two": [["b", "a"], "c"]}, ("one", "two"))
    assert table.texts == ("a", "b", "c")
    assert table.count.tolist() == [3, 1]
    with pytest.raises(ConfigError, match="clip 5 has no caption"):
        table.choose(torch.tensor([5]), torch.zeros(1))
    labels = caption_table({"label": ["dog;cat_meow", "rain"]}, ("label",), "a sound of {}")
    assert labels.texts == ("a sound of dog and cat meow", "a sound of rain")
    with pytest.raises(ConfigError, match="one place for the label"):
        ClapConfig(columns=("label",), template="a sound")
    objective = ClapConfig(text=WORDS).build(SliceCNNConfig().build())
    with pytest.raises(ConfigError, match="the captions are not known"):
        objective.draw(None, batch(), random())
    lonely = copy.deepcopy(objective)
    with pytest.raises(ConfigError, match="batch of 1 clip"):
        lonely.compare([torch.zeros(1, 128), torch.zeros(1, 16), torch.zeros(1, 1)])

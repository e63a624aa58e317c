"""BEST-RQ, MusicFM and BEATs: the published constants, and BEATs' stages through `pretrain`."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from auricle.audio.frontends.presets import preset
from auricle.encoders.beats import BEATsConfig
from auricle.encoders.coding_encoder import CodingEncoder, CodingEncoderConfig
from auricle.encoders.parts.conv_position import ConvPositionConfig
from auricle.encoders.parts.quantisers.codebook import CodebookConfig
from auricle.errors import ConfigError
from auricle.objectives.predictive.decoder import TransformerDecoderConfig
from auricle.objectives.targets.previous_encoder import PreviousEncoderConfig
from auricle.recipes import Recipe, get_recipe, load, pretrain
from auricle.recipes.loading import load_recipe
from auricle.training.checkpoint import find_checkpoints, read_tensors


def test_best_rq_as_published() -> None:
    recipe = get_recipe("best-rq", "paper")
    assert (recipe.frontend.mels, recipe.frontend.hop, recipe.frontend.over) == (80, 160, "bins")
    corruption, (term,) = recipe.objective.corruption, recipe.objective.terms
    # A start with probability 0.01 at every frame, 400 ms of 10 ms frames, N(0, 0.1).
    assert (corruption.start, corruption.length, corruption.std) == (0.01, 40, 0.1)
    assert (term.target.codes, term.target.dim, term.target.codebooks) == (8192, 16, 1)
    assert recipe.encoder.subsampling == "conv2d"
    assert 5.5e8 < conformer_size(recipe) < 6.5e8
    assert (recipe.train.lr, recipe.train.warmup_steps, recipe.train.schedule) == (8e-4, 25_000, "inverse_sqrt")
    assert (recipe.loader.batch_seconds, recipe.train.clip_norm) == (7200, 10.0)


@pytest.mark.parametrize("name", ["best-rq", "w2v-bert", "decoar2"])
def test_tiny_sizes_keep_what_a_whole_clip_has_in_common(name: str) -> None:
    tiny, paper = get_recipe(name, "tiny"), get_recipe(name, "paper")
    assert (tiny.frontend, paper.frontend) == (preset("asr80_corpus"), preset("asr80"))
    assert tiny.measure_statistics
    assert (tiny.frontend.mels, tiny.frontend.hop, tiny.frontend.n_fft, tiny.frontend.window) == (
        paper.frontend.mels, paper.frontend.hop, paper.frontend.n_fft, paper.frontend.window,
    )  # fmt: skip
    if name == "best-rq":
        target = tiny.objective.terms[0].target
        assert (target.codes, target.norm) == (256, "none")


def conformer_size(recipe: Recipe) -> int:
    """Return the parameters of its blocks by the paper's formula, without building 0.6 B of them."""
    c = recipe.encoder
    forward = 2 * (2 * c.width * int(c.mlp_ratio * c.width))
    return c.depth * (forward + 4 * c.width**2 + 3 * c.width**2 + c.kernel * c.width)


def test_musicfm_as_published() -> None:
    recipe = get_recipe("musicfm", "paper")
    assert (recipe.frontend.rate, recipe.frontend.mels, recipe.frontend.n_fft, recipe.frontend.hop) == (
        24_000, 128, 2048, 240,
    )  # fmt: skip
    (op,), (outer,) = recipe.augment.wave, recipe.objective.terms
    assert (op.hop_seconds, op.hidden, op.sigma) == (0.4, 0.6, 0.1)
    target = outer.term.target
    assert (target.codes, target.dim, target.seed) == (4096, 16, 142)
    assert (recipe.encoder.width, recipe.encoder.depth, recipe.encoder.mels) == (1024, 12, 128)
    assert recipe.window.seconds == 30.0


def test_beats_as_published() -> None:
    third = get_recipe("beats", "paper")
    tokenizer = third.previous
    stages = [third]
    while stages[-1].previous is not None:
        stages.append(stages[-1].previous)
    assert [stage.name for stage in stages] == ["beats", "beats-tokenizer", "beats", "beats-tokenizer", "beats-iter1"]
    assert (third.frontend.amplitude, third.frontend.mean, third.frontend.std, third.frontend.divisor) == (
        32768.0, 15.41663, 6.55582, 2.0,
    )  # fmt: skip
    assert not third.measure_statistics
    assert (third.encoder.depth, third.encoder.width, third.encoder.buckets) == (12, 768, 320)
    assert (third.objective.mask.ratio, third.objective.hide) == (0.75, "drop")
    book = tokenizer.encoder.codebook
    assert (book.codes, book.dim, book.decay) == (1024, 256, 0.99)
    assert tokenizer.objective.estimator.depth == 3
    # The commitment is a mean squared error; what is regressed is the output as it is.
    assert (tokenizer.objective.commitment, tokenizer.objective.commitment_dims) == (1.0, "mean")
    assert not tokenizer.objective.standardise
    assert (tokenizer.encoder.body.dropout, tokenizer.encoder.body.attention_dropout) == (0.0, 0.0)
    target = stages[-1].objective.terms[0].target
    assert (target.codes, target.dim) == (1024, 256)
    assert (third.train.steps, third.train.lr, third.loader.batch_seconds) == (400_000, 5e-4, 5.6 * 3600)
    # Each stage learns from what stands before it.
    for later, previous in itertools.pairwise(stages):
        objective = later.objective
        told = objective.previous if later.name == "beats-tokenizer" else objective.terms[0].target.previous
        assert (told.encoder, told.frontend) == (previous.encoder, previous.frontend)


BODY = BEATsConfig(width=32, embed=16, depth=1, heads=2, position=ConvPositionConfig(kernel=4, groups=4))
BLOCK = TransformerDecoderConfig(32, 1, 2)


def short(recipe: Recipe, book: CodebookConfig = CodebookConfig(codes=16, dim=8)) -> Recipe:  # noqa: B008  frozen
    """Return the recipe with stages of two steps, small encoders and small windows."""
    previous = None if recipe.previous is None else short(recipe.previous, book)
    encoder, objective = BODY, recipe.objective
    told = None if previous is None else PreviousEncoderConfig(encoder=previous.encoder, frontend=previous.frontend)
    if recipe.name == "beats-tokenizer":
        encoder = CodingEncoderConfig(body=BODY, codebook=book)
        objective = objective.replace(previous=told, estimator=BLOCK)
    else:
        (term,) = objective.terms
        target = term.target.replace(seeds=1) if told is None else term.target.replace(previous=told)
        objective = objective.replace(decoder=BLOCK, terms=(term.replace(target=target),))
    return recipe.replace(
        previous=previous,
        encoder=encoder,
        objective=objective,
        window=recipe.window.replace(seconds=0.64),
        loader=recipe.loader.replace(batch=4, workers=0),
        train=recipe.train.replace(
            steps=2, warmup_steps=1, log_every=1, save_every=2, threads=1, precision="fp32", device="cpu"
        ),
    )


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, toy_corpus: Path) -> Path:
    recipe = short(get_recipe("beats", "tiny"))
    return pretrain(recipe, toy_corpus, tmp_path_factory.mktemp("beats") / "run", progress=False)


def test_three_stages_hand_on_what_they_learnt(trained: Path) -> None:
    tokenizer, first = load(trained / "previous"), load(trained / "previous" / "previous")
    assert isinstance(tokenizer.encoder, CodingEncoder)
    assert load(trained).encoder.config == first.encoder.config
    mine = read_tensors(find_checkpoints(trained / "checkpoints")[2] / "objective.safetensors")
    held = {
        name.removeprefix("terms.0.target.previous.encoder."): tensor
        for name, tensor in mine.items()
        if "target.previous.encoder" in name
    }
    for name, tensor in tokenizer.encoder.state_dict().items():
        assert (held[name] == tensor).all(), name


def test_a_first_iteration_is_refused_where_a_tokenizer_is_expected(
    trained: Path, toy_corpus: Path, tmp_path: Path
) -> None:
    first = trained / "previous" / "previous"
    with pytest.raises(ConfigError, match="found BEATs, which gives no codes; expected a tokenizer"):
        pretrain(short(get_recipe("beats", "tiny")), toy_corpus, tmp_path / "run", progress=False, previous=first)


def test_a_tokenizer_with_another_codebook_is_taken_as_it_is(trained: Path, toy_corpus: Path, tmp_path: Path) -> None:
    other = short(get_recipe("beats", "tiny"), CodebookConfig(codes=32, dim=8))
    run = pretrain(other, toy_corpus, tmp_path / "run", progress=False, previous=trained / "previous")
    (term,) = load_recipe(run).objective.terms
    assert term.target.previous.encoder.codebook.codes == 16

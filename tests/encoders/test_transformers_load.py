"""Loading models of transformers: whatever can't be used is refused with a reason."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

transformers = pytest.importorskip("transformers")
from tiny_transformers import folder  # noqa: E402

from auricle.encoders.transformers.encoder import TransformersEncoderConfig, open_transformers  # noqa: E402
from auricle.encoders.transformers.load import explained  # noqa: E402
from auricle.errors import AudioError, ConfigError, DownloadError, MissingExtraError  # noqa: E402


def test_codecs_and_other_models_without_a_token_map_are_refused(tmp_path: Path) -> None:
    codec = transformers.EncodecModel(transformers.EncodecConfig(num_filters=2, hidden_size=8, codebook_size=8))
    codec.save_pretrained(tmp_path)
    transformers.EncodecFeatureExtractor().save_pretrained(tmp_path)
    with pytest.raises(ConfigError, match="module:Class"):
        open_transformers(str(tmp_path))


def test_what_is_no_model_is_refused_in_words(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no model"):
        TransformersEncoderConfig("")
    with pytest.raises(ConfigError, match="'pretrained' or 'random'"):
        TransformersEncoderConfig("a/b", weights="fresh")  # type: ignore[arg-type]
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(ConfigError, match="can't be opened"):
        open_transformers(str(empty))
    alone = tmp_path / "alone"
    shutil.copytree(folder("wav2vec2"), alone)
    (alone / "preprocessor_config.json").unlink()
    with pytest.raises(ConfigError, match="preprocessor_config"):
        open_transformers(str(alone))


def test_only_safetensors_are_read(tmp_path: Path) -> None:
    pickled = tmp_path / "pickled"
    shutil.copytree(folder("wav2vec2"), pickled)
    (pickled / "model.safetensors").unlink()
    model = transformers.AutoModel.from_pretrained(folder("wav2vec2"))
    torch.save(model.state_dict(), pickled / "pytorch_model.bin")
    with pytest.raises(ConfigError, match="safetensors"):
        open_transformers(str(pickled))


def test_a_checkpoint_that_lacks_weights_is_refused(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    part = tmp_path / "part"
    shutil.copytree(folder("wav2vec2"), part)
    weights = load_file(part / "model.safetensors")
    weights.pop("encoder.layers.1.feed_forward.output_dense.weight")
    save_file(weights, part / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ConfigError, match="lacks the weights"):
        open_transformers(str(part))


def test_code_of_a_repository_never_runs_unasked(tmp_path: Path) -> None:
    strange = tmp_path / "strange"
    shutil.copytree(folder("wav2vec2"), strange)
    settings = json.loads((strange / "config.json").read_text())
    settings |= {"model_type": "strange", "auto_map": {"AutoConfig": "code.Config", "AutoModel": "code.Model"}}
    (strange / "config.json").write_text(json.dumps(settings))
    (strange / "code.py").write_text(f"import pathlib; pathlib.Path({str(tmp_path / 'ran')!r}).touch()\n")
    with pytest.raises(ConfigError, match=r"set --trust-remote-code \(in Python: trust_remote_code=True\)"):
        open_transformers(str(strange))
    assert not (tmp_path / "ran").exists()


def test_offline_and_missing_models_have_different_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DownloadError, match="not on this machine"):
        open_transformers("hf:nobody/no-such-model", local_only=True)

    class GatedRepoError(OSError):
        pass

    assert "hf auth login" in str(explained(GatedRepoError("403 Client Error"), "a/b"))
    assert isinstance(explained(OSError("a/b is not a valid model identifier"), "a/b"), ConfigError)


def test_the_library_may_be_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(MissingExtraError, match=r"auricle\[hub\]"):
        TransformersEncoderConfig("a/b").build()


def saved(path: Path, model: object, extractor: object) -> str:
    for part in (model, extractor):
        part.save_pretrained(path)  # type: ignore[attr-defined]
    return str(path)


SMALL = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 48}


def test_a_model_of_text_is_named_as_such(tmp_path: Path) -> None:
    transformers.BertModel(transformers.BertConfig(**SMALL, vocab_size=50)).save_pretrained(tmp_path)
    with pytest.raises(ConfigError, match="a model of type 'bert', which reads no audio; name an audio encoder"):
        open_transformers(str(tmp_path))


@pytest.mark.parametrize(("name", "own", "other"), [("max_length", 256, 1024), ("num_mel_bins", 128, 64)])
def test_an_ast_beside_the_extractor_of_another_is_refused_with_both_numbers(
    tmp_path: Path, name: str, own: int, other: int
) -> None:
    settings = {"max_length": 256, "num_mel_bins": 128}
    model = transformers.ASTModel(transformers.ASTConfig(**SMALL, **settings))
    where = saved(tmp_path, model, transformers.ASTFeatureExtractor(**{**settings, name: other}))
    with pytest.raises(ConfigError, match=rf"the model reads {own} and its feature extractor makes {other} \({name}"):
        open_transformers(where)
    # The remedy: its own extractor.
    transformers.ASTFeatureExtractor(**settings).save_pretrained(where)
    assert open_transformers(where).embed(np.zeros(4000, np.float32), 16000).shape == (32,)


@pytest.mark.parametrize(
    ("file", "change", "said"),
    [
        ("config.json", {"hidden_size": "many"}, "can't be opened as a model"),
        ("config.json", {"hidden_size": 64}, "weights of .* have other sizes than its config.json"),
        ("config.json", {"num_attention_heads": 5}, "other sizes than its config.json"),
        ("preprocessor_config.json", {"sampling_rate": "x"}, "can't be opened|has the sample rate 'x'"),
        ("preprocessor_config.json", {"sampling_rate": 0}, "can't be opened|has the sample rate 0"),
        ("preprocessor_config.json", {"sampling_rate": None}, "can't be opened|has the sample rate None"),
        ("model.safetensors", None, "can't be opened as a model"),
    ],
)
def test_damaged_files_of_a_model_end_in_words(tmp_path: Path, file: str, change: dict | None, said: str) -> None:
    shutil.copytree(folder("ast"), tmp_path / "ast")
    path = tmp_path / "ast" / file
    path.write_bytes(b"junk" if change is None else json.dumps({**json.loads(path.read_text()), **change}).encode())
    with pytest.raises(ConfigError, match=said):
        open_transformers(str(tmp_path / "ast"))


def test_what_a_model_raises_on_a_clip_is_an_error_of_the_clip(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("wav2vec2", "ast"):
        frozen = open_transformers(folder(name))

        def broken(*args: object, **how: object) -> None:
            raise RuntimeError("sizes differ")

        monkeypatch.setattr(frozen.encoder.model, "forward", broken)
        for part in frozen.encoder.model.children():
            monkeypatch.setattr(part, "forward", broken)
        with pytest.raises(
            AudioError, match=r"failed on a batch of shape \(1, \d+\): it raised RuntimeError: sizes differ"
        ):
            frozen.embed(np.zeros(16000, np.float32), 16000)

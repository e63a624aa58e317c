"""Loading models of transformers: whatever can't be used is refused with a reason."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest
import torch

transformers = pytest.importorskip("transformers")
from tiny_transformers import folder  # noqa: E402

from auricle.encoders.transformers.encoder import TransformersEncoderConfig, open_transformers  # noqa: E402
from auricle.encoders.transformers.load import explained  # noqa: E402
from auricle.errors import ConfigError, DownloadError, MissingExtraError  # noqa: E402


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
    with pytest.raises(ConfigError, match="trust_remote_code=True"):
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

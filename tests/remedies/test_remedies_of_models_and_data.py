"""Code of strangers, models of transformers, and published data sets: what their messages advise is done."""

from __future__ import annotations

import dataclasses
import io
import json
import shutil
import threading
import zipfile
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import soundfile
from remedy_tools import QUICK, RATE, TRAIN, Command, after, changed, executes, tones

import auricle as package
from auricle.corpus.published.archive import Archive
from auricle.corpus.published.data_sets import DATA_SETS

CODE = """
from transformers import Wav2Vec2Config, Wav2Vec2Model


class Config(Wav2Vec2Config):
    model_type = "strange"


class Model(Wav2Vec2Model):
    config_class = Config
"""
EMBED = ["--data", "data", "--out", "v.parquet", "--overwrite"]


@pytest.fixture
def strange(auricle: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A folder whose model comes with its own code."""
    pytest.importorskip("transformers")
    from tiny_transformers import folder

    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "modules"))
    if not (tmp_path / "data").exists():
        tones(tmp_path / "data", 4)
    shutil.copytree(folder("wav2vec2"), tmp_path / "strange")
    file = tmp_path / "strange" / "config.json"
    parts = {"AutoConfig": "code_of_strangers.Config", "AutoModel": "code_of_strangers.Model"}
    file.write_text(json.dumps({**json.loads(file.read_text()), "model_type": "strange", "auto_map": parts}))
    (tmp_path / "strange" / "code_of_strangers.py").write_text(CODE)
    return f"hf:{tmp_path / 'strange'}"


@executes("set --trust-remote-code (in Python", "set --trust-remote-code on the command line")
def test_code_of_a_model_is_trusted_on_the_command_line(auricle: Command, strange: str) -> None:
    message = auricle.refused("embed", strange, *EMBED)
    flag = after(message, "if you trust it, set ", r"(--trust-remote-code) \(in Python: trust_remote_code=True\)")
    auricle.works("embed", strange, *EMBED, flag)
    assert package.load(strange, trust_remote_code=True).width == 32
    Path("mine.json").write_text(json.dumps({"trust_remote_code": True}))
    words = ["embed", strange, *EMBED, "--config", "mine.json"]
    flag = after(auricle.refused(*words), "trust_remote_code; set ", r"(\S+) on the command line")
    auricle.works(*words[:-2], flag)


@executes("open the model by its name with --trust-remote-code")
def test_settings_that_ask_for_trust(auricle: Command, run: Path, strange: str) -> None:
    from auricle.encoders.transformers.encoder import TransformersEncoderConfig

    settings = TransformersEncoderConfig(strange.removeprefix("hf:"), trust_remote_code=True)
    recipe = json.loads((run / "recipe.json").read_text())
    Path("recipe.json").write_text(json.dumps({**recipe, "encoder": settings.to_json()}))
    message = auricle.refused("pretrain", "--config", "recipe.json", "--data", "data", "--out", "new")
    assert "or build it in Python" in message
    auricle.works("embed", strange, *EMBED, after(message, "by its name with ", r"(--trust-remote-code)"))
    assert settings.build().width == 32


@executes("found no clip that is long enough for a token")
def test_clips_without_a_token(auricle: Command, tmp_path: Path) -> None:
    """A published encoder as the encoder of a recipe."""
    pytest.importorskip("transformers")
    from tiny_transformers import folder

    from auricle.encoders.transformers.encoder import TransformersEncoderConfig
    from auricle.recipes.registry import get_recipe

    data = tones(tmp_path / "data", 2)
    soundfile.write(data / "short.wav", np.sin(0.3 * np.arange(300)), RATE)
    recipe = get_recipe("data2vec", "tiny").replace(encoder=TransformersEncoderConfig(folder("wav2vec2")))
    Path("recipe.json").write_text(json.dumps(recipe.to_json()))
    words = ["pretrain", "--config", "recipe.json", "--data", "data", "--out", "new"]
    words += [*changed(TRAIN[:14], "--loader.batch", "1"), "--objective.terms.0.target.layers", "2"]
    words += ["--window.seconds", "0.6", "--window.short", "pad", "--loader.shortest", "0.01"]
    shortest = after(auricle.refused(*words), "exclude such clips (", r"([\w.-]+)\)")
    auricle.works(*changed(changed(words, shortest, "0.1"), "--out", "longer"))


WRAPPED = """
import torch
import transformers


class {kind}:
    rate, width = 24000, 2

    def __init__(self):
        model = transformers.{kind}Model.from_pretrained({folder!r})
        self.first = next(m for m in model.modules() if isinstance(m, torch.nn.Conv1d))

    @torch.no_grad()
    def __call__(self, wave):
        return self.first(wave[:, None])[..., ::320].mT
"""


CODEC = {"num_filters": 2, "hidden_size": 8, "codebook_size": 8, "upsampling_ratios": [4, 4]}
MIMI = {
    **CODEC, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16, "head_dim": 4,
    "num_key_value_heads": 2, "codebook_dim": 8, "vector_quantization_hidden_dimension": 8, "num_quantizers": 2,
    "num_semantic_quantizers": 1, "upsample_groups": 8, "frame_rate": 750,
}  # fmt: skip


@executes("so it is no encoder of token maps; wrap it", "returns no token map (B, T, D); wrap it")
def test_codecs_are_wrapped(auricle: Command, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    tones(tmp_path / "data", 2)
    for kind, settings in (("Encodec", CODEC), ("Mimi", MIMI)):
        model = getattr(transformers, f"{kind}Model")(getattr(transformers, f"{kind}Config")(**settings))
        model.save_pretrained(kind)
        transformers.EncodecFeatureExtractor().save_pretrained(kind)
        verb = after(auricle.refused("embed", f"hf:{kind}", *EMBED), "`module:Class`, see `auricle ", r"([^`]+)`\)")
        Path(f"my_{kind}.py").write_text(WRAPPED.format(kind=kind, folder=kind))
        auricle.works(*verb.split(), f"my_{kind}:{kind}")
        auricle.works("embed", f"my_{kind}:{kind}", *EMBED)


@pytest.fixture
def served(tmp_path: Path) -> Iterator[str]:
    """The address of what lies in `served`."""
    (tmp_path / "served").mkdir()

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(tmp_path / "served"))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def esc50() -> bytes:
    """The archive of ESC-50, of two classes and five clips each."""
    buffer = io.BytesIO()
    rows = ["filename,fold,target,category,esc10,src_file,take"]
    with zipfile.ZipFile(buffer, "w") as packed:
        for i in range(10):
            sound = io.BytesIO()
            noise = 0.01 * np.random.default_rng(i).standard_normal(11200)
            soundfile.write(sound, noise + 0.3 * np.sin((0.1 + i % 2) * np.arange(11200)), RATE, format="WAV")
            packed.writestr(f"ESC-50-master/audio/{i}.wav", sound.getvalue())
            rows.append(f"{i}.wav,{1 + i // 2},{i % 2},{('dog', 'rain')[i % 2]},True,{i},A")
        packed.writestr("ESC-50-master/meta/esc50.csv", "\n".join(rows))
    return buffer.getvalue()


@executes("fetches it, or says how to get it", "the folder that holds its data sets")
def test_a_data_set_is_downloaded(
    auricle: Command, served: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "served" / "master.zip").write_bytes(esc50())
    here = Archive(f"{served}/master.zip", name="ESC-50-master.zip")
    monkeypatch.setitem(DATA_SETS, "esc50", dataclasses.replace(DATA_SETS["esc50"], archives=(here,)))
    words = ["probe", "remedy_encoders:Bands", "--task", "esc50", "--out", "out", *QUICK]
    message = auricle.refused(*words)
    fetch = after(message, "`auricle ", r"([^`]+)` fetches it").replace("FOLDER", "audio/esc50").split()
    auricle.works(*fetch, "--yes")
    auricle.works(*words, after(message, "its audio: set ", r"(--data)"), "audio/esc50")
    suite = ["probe", "remedy_encoders:Bands", "--suite", "hear", "--out", "suite", *QUICK[:3]]
    flag = after(auricle.refused(*suite), "--suite needs ", r"(--data): the folder")
    assert "skipped" in auricle.works(*suite, flag, "audio", "--probes", "knn")


def test_a_data_set_that_is_not_downloaded_says_how_to_get_it(auricle: Command) -> None:
    message = auricle.refused("probe", "remedy_encoders:Bands", "--task", "crema_d", "--out", "out")
    fetch = after(message, "`auricle ", r"([^`]+)` fetches it, or says how").replace("FOLDER", "audio").split()
    name = fetch[2]
    assert not DATA_SETS[name].archives
    assert DATA_SETS[name].how in auricle.refused(*fetch)

"""Loading a model of transformers and its feature extractor, with errors that say what to do."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import torch

from auricle.errors import AuricleError, ConfigError, DownloadError
from auricle.extras import require

# Used in pre-training only; checkpoints may lack it.
_UNUSED = re.compile(r"(^|\.)masked_spec_embed$")


def load_parts(
    name: str,
    generator: torch.Generator | None,
    *,
    random: bool = False,
    revision: str | None = None,
    trust_remote_code: bool = False,
    local_only: bool = False,
) -> tuple[Any, Any]:
    """Return model (float32) and feature extractor.

    Args:
        name: Hub id or local folder.
        generator: for random weights, and for parts whose weights are not in the checkpoint; None: seeded with 0.
        random: fresh weights instead of the checkpoint's.
        revision: see `TransformersEncoderConfig`, as the others.
        trust_remote_code: let the Hub's repository run its own Python code here.
        local_only: never ask the Hub.

    Raises:
        MissingExtraError: transformers is not installed.
        ConfigError: there is no such model, access is refused, it has no weights as safetensors, lacks some of them,
            or is no audio model.
        DownloadError: the Hub can't be reached.
    """
    library = require("transformers", extra="hub")
    where: dict[str, Any] = {
        "revision": revision,
        "trust_remote_code": trust_remote_code,
        "local_files_only": local_only,
    }
    generator = torch.Generator().manual_seed(0) if generator is None else generator
    seed = int(torch.randint(2**62, (), generator=generator))
    with torch.random.fork_rng(devices=[]):
        # transformers draws from torch's global generator only.
        torch.manual_seed(seed)
        settings = None
        try:
            settings = library.AutoConfig.from_pretrained(name, **where)
            extractor = library.AutoFeatureExtractor.from_pretrained(name, **where)
            settings.apply_spec_augment, settings.layerdrop = False, 0.0
            settings.encoder_layerdrop = 0.0
            if random:
                model = library.AutoModel.from_config(settings, trust_remote_code=trust_remote_code)
                missing: list[str] = []
            else:
                model, report = library.AutoModel.from_pretrained(
                    name, config=settings, use_safetensors=True, output_loading_info=True, **where
                )
                missing = sorted(key for key in report["missing_keys"] if not _UNUSED.search(key))
        except Exception as error:
            # Whatever the library, or code of the repository, raises about files that are not ours.
            if settings is not None and _reads_no_audio(settings.model_type):
                raise ConfigError(
                    f"{name} is a model of type {settings.model_type!r}, which reads no audio; name an audio encoder, "
                    "such as a wav2vec 2.0, HuBERT, WavLM, AST, CLAP or Whisper model"
                ) from error
            raise explained(error, name) from error
    if missing:
        raise ConfigError(
            f"the checkpoint of {name} lacks the weights {', '.join(missing[:3])} ({len(missing)} in all), "
            "which would be random; use a complete checkpoint"
        )
    rate = getattr(extractor, "sampling_rate", None)
    if not isinstance(rate, int) or rate < 1:
        raise ConfigError(
            f"the preprocessor_config.json of {name} has the sample rate {rate!r}; expected a positive number of an "
            "audio model: save its feature extractor again (extractor.save_pretrained(folder))"
        )
    return model.float(), extractor


def _reads_no_audio(kind: str) -> bool:
    """Return whether the library has no feature extractor for a type of model that it knows."""
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES
    from transformers.models.auto.feature_extraction_auto import FEATURE_EXTRACTOR_MAPPING_NAMES

    return kind in CONFIG_MAPPING_NAMES and kind not in FEATURE_EXTRACTOR_MAPPING_NAMES


def explained(error: Exception, model: str) -> AuricleError:
    """Return our error for one that transformers raised."""
    chain: list[BaseException] = []
    cause: BaseException | None = error
    while cause is not None and cause not in chain:
        chain.append(cause)
        cause = cause.__cause__ or cause.__context__
    names = {kind.__name__ for link in chain for kind in type(link).__mro__}
    text = " ".join(str(link) for link in chain)
    first = (str(error).strip().splitlines() or ["no reason is stated"])[0]
    if "trust_remote_code" in text:
        return ConfigError(
            f"{model} contains Python code, which would run here; read it on the Hub, and if you trust it, "
            "set --trust-remote-code (in Python: trust_remote_code=True)"
        )
    if "GatedRepoError" in names or "401" in text or "403" in text:
        return ConfigError(
            f"the Hub refuses access to {model}: it does not exist, is private, or its terms must be accepted on its "
            "page; then log in with `hf auth login`, or set HF_TOKEN"
        )
    if "safetensors" in text:
        return ConfigError(
            f"{model} has no weights as safetensors, and other formats can run code when they are read; convert them "
            f"(https://huggingface.co/spaces/safetensors/convert), or name a revision that has them ({first})"
        )
    if "preprocessor_config.json" in text or "feature extractor" in text:
        return ConfigError(
            f"{model} has no preprocessor_config.json, which holds its sample rate; save its feature extractor with "
            "the weights (extractor.save_pretrained(folder))"
        )
    if "ignore_mismatched_sizes" in text:
        return ConfigError(
            f"the weights of {model} have other sizes than its config.json says; use the one that was saved with "
            "the weights"
        )
    offline = {"LocalEntryNotFoundError", "OfflineModeIsEnabled", "ConnectionError", "ConnectError", "Timeout"}
    if names & offline and not Path(model).exists():
        return DownloadError(
            f"{model} is not on this machine and the Hub can't be reached (or offline mode is on); download it where "
            f"there is a network, or name a local folder ({first})"
        )
    if Path(model).is_dir():
        return ConfigError(f"{model} can't be opened as a model of transformers: {first}")
    return ConfigError(
        f"{model!r} is no local folder, and the Hub has no such model, or transformers can't open it as an audio "
        f"encoder: {first}"
    )

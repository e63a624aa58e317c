"""Loads a model of transformers and its feature extractor, and says in words what stands against it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from auricle.errors import AuricleError, ConfigError, DownloadError
from auricle.extras import require

if TYPE_CHECKING:
    from auricle.encoders.transformers.encoder import TransformersEncoderConfig

# Inputs of objectives that the wrapper never uses; checkpoints may lack them.
_UNUSED = re.compile(r"(^|\.)masked_spec_embed$")


def load_parts(config: TransformersEncoderConfig, generator: torch.Generator | None) -> tuple[Any, Any]:
    """Return model (float32) and feature extractor.

    Args:
        config: which model.
        generator: for random weights, and for parts whose weights are not in the checkpoint; None: seeded with 0.

    Raises:
        MissingExtraError: transformers is not installed.
        ConfigError: there is no such model, access is refused, it has no weights as safetensors, lacks some of them,
            or is no audio model.
        DownloadError: the Hub can't be reached.
    """
    library = require("transformers", extra="hub")
    where: dict[str, Any] = {
        "revision": config.revision,
        "trust_remote_code": config.trust_remote_code,
        "local_files_only": config.local_only,
    }
    generator = torch.Generator().manual_seed(0) if generator is None else generator
    seed = int(torch.randint(2**62, (), generator=generator))
    with torch.random.fork_rng(devices=[]):
        # transformers draws from torch's global generator only.
        torch.manual_seed(seed)
        try:
            settings = library.AutoConfig.from_pretrained(config.model, **where)
            extractor = library.AutoFeatureExtractor.from_pretrained(config.model, **where)
            settings.apply_spec_augment, settings.layerdrop = False, 0.0
            settings.encoder_layerdrop = 0.0
            if config.weights == "random":
                model = library.AutoModel.from_config(settings, trust_remote_code=config.trust_remote_code)
                missing: list[str] = []
            else:
                model, told = library.AutoModel.from_pretrained(
                    config.model, config=settings, use_safetensors=True, output_loading_info=True, **where
                )
                missing = sorted(name for name in told["missing_keys"] if not _UNUSED.search(name))
        except (OSError, ValueError, KeyError, ImportError) as error:
            raise explained(error, config.model) from error
    if missing:
        raise ConfigError(
            f"the checkpoint of {config.model} lacks the weights {', '.join(missing[:3])} ({len(missing)} in all), "
            "which would be random; take a complete checkpoint"
        )
    if not hasattr(extractor, "sampling_rate"):
        raise ConfigError(f"{config.model} has no sample rate in its preprocessor_config.json: it is no audio model")
    return model.float(), extractor


def explained(error: Exception, model: str) -> AuricleError:
    """Return what to tell the user of an error that transformers raised."""
    chain: list[BaseException] = []
    cause: BaseException | None = error
    while cause is not None and cause not in chain:
        chain.append(cause)
        cause = cause.__cause__ or cause.__context__
    names = {kind.__name__ for link in chain for kind in type(link).__mro__}
    text = " ".join(str(link) for link in chain)
    first = (str(error).strip().splitlines() or ["no reason given"])[0]
    if "trust_remote_code" in text:
        return ConfigError(
            f"{model} brings Python code of its own, which would run here; read it on the Hub, and if you trust it, "
            "set trust_remote_code=True"
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
            f"{model} has no preprocessor_config.json, which tells its sample rate: save its feature extractor beside "
            "the weights (extractor.save_pretrained(folder))"
        )
    offline = {"LocalEntryNotFoundError", "OfflineModeIsEnabled", "ConnectionError", "ConnectError", "Timeout"}
    if names & offline and not Path(model).exists():
        return DownloadError(
            f"{model} is not on this machine and the Hub can't be reached (or offline mode is on); download it where "
            f"there is a network, or give a local folder ({first})"
        )
    if Path(model).is_dir():
        return ConfigError(f"{model} can't be opened as a model of transformers: {first}")
    return ConfigError(
        f"{model!r} is no local folder, and the Hub has no such model, or transformers can't open it as an audio "
        f"encoder: {first}"
    )

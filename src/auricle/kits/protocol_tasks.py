"""Settings of the kits' protocols for single tasks: lengths, batches, epochs, learning rates."""

from __future__ import annotations

from typing import Any

from auricle.kits.grid import GridPoint
from auricle.kits.protocols import KitCropConfig, ProtocolConfig

_EVAR_SECONDS = {
    "as20k": 10.0,
    "fsd50k": 7.6358,
    "esc10": 5.0,
    "esc50_dev20": 5.0,
    "esc50": 5.0,
    "us8k": 4.0,
    "speech_commands_v2": 1.0,
    "voxceleb1": 8.2,
    "voxforge": 5.8,
    "crema_d": 2.5,
    "gtzan": 30.0,
    "nsynth_instrument": 4.0,
    "surge_pitch": 4.0,
}

_XARES_SECONDS = {"fsd50k": 10.0, "fma_small": 10.0, "librispeech_gender": 5.0, "voxceleb1": 6.0, "vox_lingua": 10.0}

_XARES_TRAINING: dict[str, dict[str, Any]] = {
    "asvspoof2015": {"batch": 64, "epochs": 5},
    "fsd50k": {"batch": 64},
    "fma_small": {"epochs": 3},
    "fsdkaggle2018": {"batch": 64, "epochs": 3},
    "libricount": {"batch": 64},
    "vocal_imitation": {"epochs": 20},
    "vox_lingua": {"batch": 64},
}

# X-ARES has no validation clips there and names the test clips twice.
_XARES_TEST_VALIDATES = ("fsdkaggle2018",)

_MARBLE_TRAINING: dict[str, dict[str, Any]] = {
    "magnatagatune": {"patience": 10, "plateau_patience": 3},
    "nsynth_instrument": {"epochs": 50},
    "nsynth_pitch": {"epochs": 50},
}
_MARBLE_LR = {"gtzan": 5e-3}

# 200,000 steps, with a check every 4,000.
_SUPERB_LONG = ("keyword_spotting", "speech_commands_v1", "fluent_speech_commands", "voxceleb1")

_BALANCED = "SUPERB samples the classes evenly on this task and lowers the level by 3 dB; neither is done here"
_SAME_CLIPS = "the clips that choose the epoch are the ones that are tested"


def for_task(protocol: ProtocolConfig, task: str) -> ProtocolConfig:
    """Return a protocol with the kit's own settings for one task; for others it stays as it is.

    Args:
        protocol: a kit's protocol.
        task: name of the task's card.
    """
    training = protocol.training
    if protocol.name == "evar":
        return protocol.replace(crop=protocol.crop.replace(seconds=_EVAR_SECONDS.get(task, 0.0)))
    if protocol.name == "xares":
        test_validates = task in _XARES_TEST_VALIDATES
        leaks = (*protocol.leaks, _SAME_CLIPS) if test_validates and protocol.points else protocol.leaks
        return protocol.replace(
            training=training.replace(**_XARES_TRAINING.get(task, {})),
            crop=KitCropConfig(seconds=_XARES_SECONDS.get(task, 0.0)),
            split_test_validates=test_validates,
            leaks=leaks,
        )
    if protocol.name == "marble":
        points = tuple(GridPoint(head=p.head, lr=_MARBLE_LR.get(task, p.lr)) for p in protocol.points)
        return protocol.replace(points=points, training=training.replace(**_MARBLE_TRAINING.get(task, {})))
    if protocol.name == "superb" and task in _SUPERB_LONG:
        long = training.replace(steps=200_000, check_every=4000)
        notes = (*protocol.notes, _BALANCED) if task in ("keyword_spotting", "speech_commands_v1") else protocol.notes
        crop = KitCropConfig(seconds=8.0, train="random") if task == "voxceleb1" else protocol.crop
        return protocol.replace(training=long, notes=notes, crop=crop)
    return protocol

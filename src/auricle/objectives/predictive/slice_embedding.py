"""One vector for each slice of a clip, for the tasks that compare slices."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from auricle.audio.batch import Features
from auricle.encoders.contract import Encoder
from auricle.errors import ConfigError
from auricle.objectives.contract import View


def embed_slices(encoder: Encoder, views: Sequence[View]) -> Tensor:
    """Return the pooled vector of each view, `(B, V, D)`, all views in one pass of the encoder.

    Batch normalisation then sees all slices of the batch together, so that its statistics do not depend on their
    positions in a clip.

    Raises:
        ConfigError: views of a clip have different numbers of frames or bands.
    """
    pooled = encoder.pool(encoder(join_views(views)))
    return pooled.unflatten(0, (len(views), -1)).transpose(0, 1)


def join_views(views: Sequence[View]) -> Features:
    """Return the features of all views as one batch `(V * B, ...)`, view after view.

    Raises:
        ConfigError: views of a clip have different numbers of frames or bands.
    """
    first = views[0].features
    if any(view.features.x.shape != first.x.shape for view in views):
        found = ", ".join(str(tuple(view.features.x.shape)) for view in views)
        raise ConfigError(f"found views of shapes {found}; expected views of one length, to be encoded together")
    x = torch.cat([view.features.x for view in views])
    return Features(x, torch.cat([view.features.lengths for view in views]), first.rate, first.pad)


def certified(views: Sequence[View], name: str, what: str) -> Tensor:
    """Return an entry of the certificates of views, `(B, V)`.

    Args:
        views: of each clip.
        name: of the entry.
        what: name of the objective, for the message.

    Raises:
        ConfigError: a view lacks the entry.
    """
    if any(name not in view.certificate for view in views):
        raise ConfigError(
            f"{what} reads {name!r} from the certificates of its views, and they have "
            f"{', '.join(sorted(views[0].certificate)) or 'none'}; make views by SliceViewsConfig"
        )
    return torch.stack([view.certificate[name] for view in views], 1).to(views[0].features.x.device)

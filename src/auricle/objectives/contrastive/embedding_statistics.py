"""Statistics that show whether an embedding has collapsed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor


@torch.no_grad()
def effective_rank(x: Tensor) -> Tensor:
    """Return RankMe: the exponential of the entropy of the singular values of `x (n, D)`; between 1 and min(n, D).

    Source: RankMe, arXiv 2210.02885, equation 1. Vectors are not centred. NaN if a value is not finite.
    """
    if not bool(torch.isfinite(x).all()):
        return torch.tensor(torch.nan, device=x.device)
    # The smaller Gram matrix has the squared singular values, and is much cheaper than a decomposition of x.
    x = x.double()
    gram = x.T @ x if x.shape[0] >= x.shape[1] else x @ x.T
    values = torch.linalg.eigvalsh(gram).clamp(min=0).sqrt()
    share = values / values.sum().clamp(min=torch.finfo(values.dtype).tiny)
    return torch.special.entr(share).sum().exp().float()


@torch.no_grad()
def alignment(z0: Tensor, z1: Tensor) -> Tensor:
    """Return the mean squared distance of partners `(n, D)` on the unit sphere: 0 when views agree, 2 by chance.

    Source: arXiv 2005.10242, section 4.1.1, with exponent 2.
    """
    return (F.normalize(z0.float(), dim=1) - F.normalize(z1.float(), dim=1)).square().sum(1).mean()


@torch.no_grad()
def uniformity(z: Tensor, most: int = 1024) -> Tensor:
    """Return log mean exp(-2 d^2) over pairs of the first `most` vectors of `z (n, D)`: 0 collapsed, about -4 spread.

    Source: arXiv 2005.10242, section 4.1.2, with t = 2.
    """
    z = F.normalize(z[:most].float(), dim=1)
    return torch.pdist(z).square().mul(-2).exp().mean().log()


class LazyWatch(Mapping[str, Tensor]):
    """Named scalars that are computed when they are read, so that they cost nothing in steps without a log.

    Args:
        makers: functions that compute each scalar.
    """

    def __init__(self, makers: Mapping[str, Callable[[], Tensor]]) -> None:
        self._makers = dict(makers)
        self._made: dict[str, Tensor] = {}

    def __getitem__(self, name: str) -> Tensor:
        if name not in self._made:
            self._made[name] = self._makers[name]()
        return self._made[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._makers)

    def __len__(self) -> int:
        return len(self._makers)

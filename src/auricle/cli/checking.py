"""The verb `check`: what is wrong with something of one's own, before anything runs."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import tyro
from rich.console import Console

from auricle.cli.arguments import parse
from auricle.config import nearest
from auricle.errors import AuricleError, ConfigError


@dataclasses.dataclass(frozen=True)
class CheckEncoderArguments:
    """What `auricle check encoder` takes."""

    encoder: tyro.conf.Positional[str]
    """`module:Class`, or `module:function` that makes one. The current folder is searched first."""


def check(argv: Sequence[str]) -> None:
    """Find every fault of your own encoder: `auricle check encoder module:Class`."""
    if not argv or argv[0] != "encoder":
        if argv and argv[0] not in ("-h", "--help"):
            raise AuricleError(f"`auricle check` has no command {argv[0]!r}{nearest(argv[0], ['encoder'])}")
        print("usage: auricle check encoder MODULE:CLASS\n\nauricle check encoder --help says more.")
        return
    args = parse(
        CheckEncoderArguments,
        argv[1:],
        "check encoder",
        "Check any callable with `rate` (Hz) and `width`: wave (B, S) float32 in [-1, 1] -> (B, D), (B, T, D) or "
        "(B, T, F, D). One message per fault. An encoder that passes can be given to `embed` and `probe` by its name.",
    )
    from auricle.encoders.checking import check_encoder, faults, render_findings

    findings = check_encoder(args.encoder)
    Console().print(render_findings(args.encoder, findings))
    found = faults(findings)
    if found:
        raise ConfigError(f"{args.encoder} has {len(found)} fault(s), see above; mend them before it is used")

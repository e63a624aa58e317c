"""Audio ALBERT: Mockingjay with one block for all layers (arXiv 2005.08575, SLT 2021)."""

from __future__ import annotations

from auricle.recipes.methods.reconstruction.mockingjay import mockingjay
from auricle.recipes.recipe import Recipe, Reference, recipe


@recipe("audio-albert", sizes=("tiny", "paper"), paradigm="reconstruction")
def audio_albert(size: str = "tiny") -> Recipe:
    """Audio ALBERT: Mockingjay whose layers all have the same weights.

    Args:
        size: `paper` has the published constants; `tiny` is for hours of audio and two cores.
    """
    base = mockingjay(size)
    return base.replace(
        name="audio-albert",
        reference=Reference(
            title="Audio ALBERT: A Lite BERT for Self-supervised Learning of Audio Representation",
            authors="Po-Han Chi, Pei-Hung Chung, Tsung-Han Wu, Chun-Cheng Hsieh, Yen-Hao Chen, Shang-Wen Li, "
            "Hung-yi Lee",
            arxiv="2005.08575",
            section="3, and numbers of s3prl's code",
        ),
        kept=("one transformer block serves all three layers (6 and 12 are published, too)", *base.kept),
        unknown=(*base.unknown, "how many steps: Mockingjay's (chosen)"),
        cost="as many operations as Mockingjay, a third of its layers' weights and of their optimiser state",
        choose="Mockingjay where memory for weights is scarce",
        encoder=base.encoder.replace(shared_layers=True),
    )

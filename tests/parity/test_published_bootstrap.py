"""ATST-Clip and ATST-Frame: the published students, teachers and losses on ruled weights, in the recipes' settings."""

from __future__ import annotations

import pytest
from golden import VIT, give_masks, loss_of, shrunk
from published_modules import Published, Turn

CLOSE = {"rel": 1e-7, "abs": 0.0}
ENCODER = {
    **VIT,
    r"^patch_embed\.proj": "patch_embed.patch_embed",
    r"^pos_embed": "pos_embed",
    "^": "student.encoder.",
}
# Patches are flattened band by band there, frame by frame here.
TURNED: dict[str, Turn] = {"patch_proj.weight": lambda w: w.unflatten(1, (64, 4)).transpose(1, 2)}
SMALL = {"width": 32, "depth": 2, "heads": 4, "frames": 80, "drop_path": 0.0}


def test_atst_clip() -> None:
    """Both directions are added here and averaged there, as declared."""
    known = Published("atst_clip")
    encoder, objective = shrunk("atst-clip", SMALL)
    teacher = {"^student": "teacher"}
    heads = {r"^(projector|predictor)\.": r"student.\1."}
    known.fill(encoder, ENCODER, turned=TURNED)
    known.fill(objective, heads, skip="^teacher")
    known.fill(objective.teacher_encoder.copy, ENCODER | teacher, turned=TURNED)  # type: ignore[union-attr,arg-type]
    known.fill(objective.teacher_projector.copy, {"^": "teacher.projector."})  # type: ignore[union-attr,arg-type]
    assert known.unused() == set()
    loss = loss_of(encoder, objective, [known.input("x1"), known.input("x2")])
    assert float(loss.total.detach()) / 2 == pytest.approx(known.returned["loss"], **CLOSE)
    (loss.total / 2).backward()
    compared = known.check_gradients(encoder, ENCODER, 1e-6) + known.check_gradients(objective, heads, 1e-6)
    assert compared == len(known.gradients)


def test_atst_frame(monkeypatch: pytest.MonkeyPatch) -> None:
    known = Published("atst_frame")
    encoder, objective = shrunk("atst-frame", SMALL)
    names = {r"^norm\.": "norm_frame.", **ENCODER}
    heads = {
        r"^mask_token$": "student.encoder.mask_embed",
        r"^terms\.0\.(projector|predictor)\.": r"student.\1.",
        r"\.fc1\.": ".0.",
        r"\.norm\.": ".1.",
        r"\.fc2\.": ".3.",
    }
    # The published table has a first position that nothing uses.
    turned: dict[str, Turn] = {**TURNED, "positions": lambda w: w[:, 1:]}
    known.fill(encoder, names, turned=turned)
    known.fill(objective, heads, skip=r"^teacher|\.slow\.")
    known.fill(objective.teacher.copy, names | {"^student": "teacher"}, turned=turned)  # type: ignore[union-attr,arg-type]
    slow = {"^": "teacher.projector.", r"\.fc1\.": ".0.", r"\.norm\.": ".1.", r"\.fc2\.": ".3."}
    known.fill(objective.terms[0].slow.copy, slow)  # type: ignore[index,union-attr,arg-type]
    assert known.unused() == set()
    give_masks(objective, monkeypatch, known.given["masked"])
    loss = loss_of(encoder, objective, [known.input("x1"), known.input("x2")])
    assert float(loss.total.detach()) == pytest.approx(known.returned["loss"], **CLOSE)
    loss.total.backward()
    compared = known.check_gradients(encoder, names, 1e-6) + known.check_gradients(objective, heads, 1e-6)
    assert compared == len(known.gradients)

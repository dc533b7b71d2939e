"""How right a picture of the pocket world is, part by part."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from pops.evaluation.pocket.shown import Shown
from pops.pocket.world.vocabulary import GARMENTS

__all__ = ["CLAIMS", "claimed", "name_seen", "truth_of"]

Truth = Mapping[str, float]

# The part of the truth that a metric claims to measure, by the beginning of its name.
CLAIMS = {
    "object_": "object",
    "texture_": "material",
    "background_": "background",
    "text_": "adjective",
    "caption": "adjective",
    "judge_object": "object",
    "judge_texture": "material",
    "judge_background": "background",
    "judge_text": "adjective",
    "lost": "object",
    "leak": "thing",
    "things_": "thing",
    "first_": "whole",
    "second_": "whole",
    "garments_found": "object",
    "garments_": "thing",
}


def claimed(metric: str) -> str:
    """Name the part of the truth that a metric claims to measure.

    Args:
        metric: The name of the metric.

    Returns:
        A key of what `truth_of` gives.
    """
    fitting = [beginning for beginning in CLAIMS if metric.startswith(beginning)]
    return CLAIMS[max(fitting, key=len)] if fitting else "whole"


def truth_of(shown: Shown, wanted: Shown) -> dict[str, float]:
    """Tell how right a picture is.

    Args:
        shown: What can be seen in it.
        wanted: What should be.

    Returns:
        Shares from 0 to 1: of the objects that are there, of the materials that are, and of the
        things that are there in their own material; whether background and adjective are right;
        and the mean of all that was asked for, `whole`.
    """
    count = len(wanted.things)
    shapes = {shape for shape, _ in shown.things}
    materials = {material for _, material in shown.things}
    parts = {
        "object": sum(shape in shapes for shape, _ in wanted.things) / count,
        "material": sum(material in materials for _, material in wanted.things) / count,
        "thing": len(wanted.things & shown.things) / count,
        "background": float(shown.background == wanted.background),
        "adjective": float(shown.adjective == wanted.adjective),
    }
    asked = ["thing"] if count > 1 else ["object", "material", "background"]
    if wanted.adjective is not None:
        asked.append("adjective")
    return {**parts, "whole": sum(parts[name] for name in asked) / len(asked)}


def name_seen(answers: Mapping[str, str | None], wanted: Shown, slots: Collection[str]) -> Shown:
    """Name what the classifier sees in a rendered picture.

    Args:
        answers: Its answers by question.
        wanted: What should be seen: the number of things.
        slots: The slots of the operator; for garments, these are asked.

    Returns:
        What it sees.
    """
    if "hat" in slots:
        worn = {(name, str(answers.get(f"worn {name}"))) for name in GARMENTS}
        things = frozenset((name, material) for name, material in worn if material != "None")
        return Shown(things, wanted.background)
    seen = {(str(answers.get("object")), str(answers.get("material")))}
    if len(wanted.things) > 1:
        seen.add((str(answers.get("object_b")), str(answers.get("material_b"))))
    background = str(answers.get("background"))
    return Shown(frozenset(seen), background, answers.get("adjective"))

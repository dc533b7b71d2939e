"""Draws images/flow.svg: what goes into an operator, what happens, and what comes out.

    python docs/drawings/flow.py

The pictures and the bars of the embeddings are real: the pocket stack makes them.
"""

from __future__ import annotations

import base64
import io
from pathlib import Path

from PIL import Image
from torch import Tensor

from pops import Engine

ROOT = Path(__file__).parents[2]
OUT = ROOT / "docs" / "images" / "flow.svg"
WIDTH, HEIGHT = 1146, 424
SIDE = 132  # px of a picture
BARS = 16  # numbers of an embedding that are shown
INK, QUIET, LINE = "#1f2328", "#656d76", "#8c959f"
COLD, WARM = (49, 104, 199), (214, 96, 46)


def picture(image: Image.Image, x: float, y: float, caption: str) -> str:
    """Draw a picture with rounded corners and a caption under it."""
    buffer = io.BytesIO()
    image.convert("RGB").resize((2 * SIDE, 2 * SIDE), Image.Resampling.LANCZOS).save(
        buffer, "JPEG", quality=85
    )
    data = base64.b64encode(buffer.getvalue()).decode()
    name = f"clip{x:.0f}-{y:.0f}"
    return (
        f'<clipPath id="{name}"><rect x="{x}" y="{y}" width="{SIDE}" height="{SIDE}" rx="8"/>'
        f'</clipPath><image href="data:image/jpeg;base64,{data}" x="{x}" y="{y}" width="{SIDE}" '
        f'height="{SIDE}" clip-path="url(#{name})"/>'
        f'<rect x="{x}" y="{y}" width="{SIDE}" height="{SIDE}" rx="8" fill="none" '
        f'stroke="#d0d7de"/>' + text(caption, x + SIDE / 2, y + SIDE + 20, 14, QUIET)
    )


def text(
    words: str, x: float, y: float, size: int = 15, colour: str = INK, weight: int = 400
) -> str:
    """Draw a line of text, centred on x."""
    return (
        f'<text x="{x}" y="{y}" font-size="{size}" fill="{colour}" font-weight="{weight}" '
        f'text-anchor="middle">{words}</text>'
    )


def box(x: float, y: float, w: float, h: float, title: str, *lines: str) -> str:
    """Draw a model: a box with its name and what it is."""
    middle, top = x + w / 2, y + h / 2 - 9 * len(lines) + 5
    return f'<rect x="{x}" y="{y}" width="{w}" height="{h}" rx="10" class="model"/>' + "".join(
        text(
            words,
            middle,
            top + 20 * i,
            16 if i == 0 else 13,
            QUIET if i else INK,
            400 if i else 600,
        )
        for i, words in enumerate((title, *lines))
    )


def bars(embedding: Tensor, x: float, y: float, height: float = 112) -> str:
    """Draw the first numbers of an embedding as a column of bars, cold below zero, warm above."""
    values = embedding[:BARS] / embedding[:BARS].abs().max()
    step = height / BARS
    drawn = []
    for i, value in enumerate(values.tolist()):
        toward = WARM if value > 0 else COLD
        colour = tuple(round(255 + (c - 255) * abs(value)) for c in toward)
        drawn.append(
            f'<rect x="{x}" y="{y + i * step:.2f}" width="20" height="{step - 1.2:.2f}" '
            f'fill="rgb{colour}" stroke="#d0d7de" stroke-width="0.4"/>'
        )
    return "".join(drawn)


def arrow(*points: tuple[float, float]) -> str:
    """Draw a line through points, with a head at the last."""
    path = " L".join(f"{x},{y}" for x, y in points)
    return f'<path d="M{path}" class="arrow"/>'


def draw() -> str:
    """Run the pocket stack on a mug and wood, and draw how the result was made."""
    engine = Engine.load()
    files = [ROOT / "assets" / "objects" / "mug.png", ROOT / "assets" / "textures" / "wood.png"]
    given = engine.encode(files).image_embeds
    made = engine.apply("texturing", [tuple(files)], seeds=[18])
    (result,) = engine.render(made, seeds=[0])
    mug, wood = (Image.open(file) for file in files)
    parts = [
        picture(mug, 24, 40, "object"),
        picture(wood, 24, 226, "texture"),
        arrow((162, 106), (196, 106)),
        arrow((162, 292), (196, 292)),
        box(
            200,
            80,
            150,
            238,
            "image encoder",
            "CLIP: turns what a",
            "picture shows",
            "into numbers",
        ),
        arrow((354, 106), (398, 106)),
        arrow((354, 292), (398, 292)),
        bars(given[0], 404, 50),
        bars(given[1], 404, 236),
        text("embeddings", 414, 190, 14, INK, 600),
        text("a list of numbers", 414, 210, 13, QUIET),
        arrow((430, 106), (522, 158)),
        arrow((430, 292), (522, 240)),
        box(
            526,
            124,
            170,
            150,
            "operator",
            "texturing: a model",
            "from embeddings to",
            "one embedding",
        ),
        arrow((700, 199), (744, 199)),
        bars(made.image_embeds[0], 750, 143),
        text("embedding", 760, 278, 14, INK, 600),
        arrow((776, 199), (816, 199)),
        box(820, 134, 130, 130, "decoder", "paints what an", "embedding says"),
        arrow((954, 199), (986, 199)),
        picture(result, 990, 133, "result"),
        arrow((760, 288), (760, 372), (611, 372), (611, 280)),
        text("also an input of the next operator: that is a composition", 686, 398, 14, QUIET),
    ]
    return f"""<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" \
font-family="-apple-system, 'Segoe UI', Roboto, Helvetica, Arial, sans-serif" role="img">
<title>Two pictures become embeddings, an operator makes one embedding of them, and the decoder \
paints it</title>
<style>.model {{ fill: #f6f8fa; stroke: {LINE}; }} .arrow {{ fill: none; stroke: {LINE}; \
stroke-width: 1.6; marker-end: url(#head); }}</style>
<marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" \
orient="auto"><path d="M0,0 L8,4 L0,8 z" fill="{LINE}"/></marker>
<rect width="{WIDTH}" height="{HEIGHT}" rx="12" fill="#ffffff"/>
{chr(10).join(parts)}
</svg>
"""


if __name__ == "__main__":
    OUT.write_text(draw(), encoding="utf-8")
    print(OUT)

"""One self-contained HTML page of a run: its pictures, settings, and the command that made it."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from html import escape
from io import BytesIO
from string import Template

from PIL import Image

from pops.figures.drawing import Cell

__all__ = ["run_page"]

SMALL = 160  # pixels up to which a picture is shown larger than it is, with its pixels seen

# The policy lets a browser load nothing: whatever a caption holds, no address is ever asked.
PAGE = Template("""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy"
      content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>$title</title>
<style>
  body { font: 16px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 70rem;
         padding: 0 1rem; color: #222; background: #fff; }
  h1 { font-size: 1.3rem; overflow-wrap: anywhere; }
  h2 { font-size: 1rem; margin: 2rem 0 .5rem; }
  img { max-width: 100%; height: auto; }
  img.small { width: 192px; image-rendering: pixelated; }
  .pictures { display: flex; flex-wrap: wrap; gap: 1rem; }
  .pictures figure { margin: 0; max-width: 320px; }
  figcaption { color: #555; font-size: .85rem; overflow-wrap: anywhere; }
  pre { white-space: pre-wrap; overflow-wrap: anywhere; padding: .6rem .8rem;
        background: #f4f4f4; border-radius: .4rem; }
  table { border-collapse: collapse; font-size: .9rem; }
  td { padding: .1rem 1.2rem .1rem 0; vertical-align: top; overflow-wrap: anywhere; }
</style>
</head>
<body>
<h1>$title</h1>
$figures
<h2>Results</h2>
<div class="pictures">
$pictures
</div>
<h2>The command that makes it again</h2>
<pre><code>$command</code></pre>
<h2>Settings</h2>
<table>
$settings
</table>
</body>
</html>
""")


def run_page(
    title: str,
    figures: Sequence[Image.Image],
    pictures: Sequence[Cell],
    command: str,
    settings: Mapping[str, object],
) -> str:
    """Write a page that holds everything of a run and loads nothing.

    Args:
        title: the composition, or what else was asked for.
        figures: the strips, trees and grids.
        pictures: the results, each with its caption and note; words stand in place of a picture
            that is not there.
        command: the command that makes it again.
        settings: the settings by name.

    Returns:
        The page, in HTML.
    """
    rows = (
        f"<tr><td>{escape(name)}</td><td>{escape(str(value))}</td></tr>"
        for name, value in settings.items()
    )
    return PAGE.substitute(
        title=escape(title),
        figures="\n".join(f"<p>{_embedded(figure, title)}</p>" for figure in figures),
        pictures="\n".join(map(_figure, pictures)),
        command=escape(command),
        settings="\n".join(rows),
    )


def _figure(cell: Cell) -> str:
    words = " ".join(filter(None, (cell.caption, cell.note)))
    shown = escape(cell.image) if isinstance(cell.image, str) else _embedded(cell.image, words)
    return f"<figure>{shown}<figcaption>{escape(words)}</figcaption></figure>"


def _embedded(image: Image.Image, words: str) -> str:
    content = BytesIO()
    image.convert("RGB").save(content, "PNG" if max(image.size) <= SMALL else "JPEG", quality=92)
    kind = "png" if max(image.size) <= SMALL else "jpeg"
    data = base64.b64encode(content.getvalue()).decode("ascii")
    small = ' class="small"' if kind == "png" else ""
    return f'<img{small} src="data:image/{kind};base64,{data}" alt="{escape(words)}">'

"""pops: apply, compose and train operators on CLIP image embeddings.

    from pops import Engine

    engine = Engine.load()                                   # the pocket stack, on a CPU
    made = engine.apply("texturing", [("mug.png", "wood.png")])
    engine.render(made)[0].show()

    from pops import scene, texturing                        # operators of operators

    made = engine.run(scene(texturing("mug.png", "wood.png"), "beach.png")).embeddings

Public names are looked up when first used, so that `import pops` costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from pops.settings.threads import wait_without_spinning

if TYPE_CHECKING:
    from pops.compose.draw import draw_tree
    from pops.compose.parse import clothes, instruct, mean, scene, texturing, union
    from pops.compose.run import Result
    from pops.engine import Engine
    from pops.errors import (
        InputError,
        NotFiniteError,
        OutputError,
        PopsError,
        UsageError,
        WeightsError,
    )
    from pops.io.embeddings import Embeddings
    from pops.io.pictures import open_picture, save_picture
    from pops.operators import Operator
    from pops.settings.rendering import RenderSettings
    from pops.settings.sampling import SamplingSettings

__all__ = [
    "Embeddings",
    "Engine",
    "InputError",
    "NotFiniteError",
    "Operator",
    "OutputError",
    "PopsError",
    "RenderSettings",
    "Result",
    "SamplingSettings",
    "UsageError",
    "WeightsError",
    "__version__",
    "clothes",
    "draw_tree",
    "instruct",
    "mean",
    "open_picture",
    "save_picture",
    "scene",
    "texturing",
    "union",
]

__version__ = "0.1.0"  # the only place where it stands; pyproject.toml reads it

DISTRIBUTION = "pops-operators"  # the name that pip installs; `pops` there is another project

wait_without_spinning()  # before anything imports torch

_HOMES = {
    "Embeddings": "pops.io.embeddings",
    "Engine": "pops.engine",
    "InputError": "pops.errors",
    "NotFiniteError": "pops.errors",
    "Operator": "pops.operators",
    "OutputError": "pops.errors",
    "PopsError": "pops.errors",
    "RenderSettings": "pops.settings.rendering",
    "Result": "pops.compose.run",
    "SamplingSettings": "pops.settings.sampling",
    "UsageError": "pops.errors",
    "WeightsError": "pops.errors",
    "clothes": "pops.compose.parse",
    "draw_tree": "pops.compose.draw",
    "instruct": "pops.compose.parse",
    "mean": "pops.compose.parse",
    "open_picture": "pops.io.pictures",
    "save_picture": "pops.io.pictures",
    "scene": "pops.compose.parse",
    "texturing": "pops.compose.parse",
    "union": "pops.compose.parse",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'pops' has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)

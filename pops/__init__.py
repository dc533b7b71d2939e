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
    from pops.compose.calls import add, direction, mean, mix, slerp, swap, text
    from pops.compose.draw import draw_tree
    from pops.compose.functions import clothes, instruct, scene, texturing, union
    from pops.compose.nodes import Sweep
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
    "Sweep",
    "UsageError",
    "WeightsError",
    "__version__",
    "add",
    "clothes",
    "direction",
    "draw_tree",
    "instruct",
    "mean",
    "mix",
    "open_picture",
    "save_picture",
    "scene",
    "slerp",
    "swap",
    "text",
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
    "Sweep": "pops.compose.nodes",
    "UsageError": "pops.errors",
    "WeightsError": "pops.errors",
    "add": "pops.compose.calls",
    "clothes": "pops.compose.functions",
    "direction": "pops.compose.calls",
    "draw_tree": "pops.compose.draw",
    "instruct": "pops.compose.functions",
    "mean": "pops.compose.calls",
    "mix": "pops.compose.calls",
    "open_picture": "pops.io.pictures",
    "save_picture": "pops.io.pictures",
    "scene": "pops.compose.functions",
    "slerp": "pops.compose.calls",
    "swap": "pops.compose.calls",
    "text": "pops.compose.calls",
    "texturing": "pops.compose.functions",
    "union": "pops.compose.functions",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'pops' has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)

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

if TYPE_CHECKING:
    from pops.composition import Result, draw_tree
    from pops.embeddings import Embeddings
    from pops.engine import Engine
    from pops.errors import InputError, OutputError, PopsError, UsageError, WeightsError
    from pops.expression import clothes, instruct, mean, scene, texturing, union
    from pops.pictures import open_picture, save_picture

__all__ = [
    "Embeddings",
    "Engine",
    "InputError",
    "OutputError",
    "PopsError",
    "Result",
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

__version__ = "0.1.0"

_HOMES = {
    "Embeddings": "pops.embeddings",
    "Engine": "pops.engine",
    "InputError": "pops.errors",
    "OutputError": "pops.errors",
    "PopsError": "pops.errors",
    "Result": "pops.composition",
    "UsageError": "pops.errors",
    "WeightsError": "pops.errors",
    "clothes": "pops.expression",
    "draw_tree": "pops.composition",
    "instruct": "pops.expression",
    "mean": "pops.expression",
    "open_picture": "pops.pictures",
    "save_picture": "pops.pictures",
    "scene": "pops.expression",
    "texturing": "pops.expression",
    "union": "pops.expression",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'pops' has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)

"""pops: apply, compose and train operators on CLIP image embeddings.

    from pops import Engine

    engine = Engine.load()                                   # the pocket stack, on a CPU
    made = engine.apply("texturing", [("mug.png", "wood.png")])
    engine.render(made)[0].show()

Public names are looked up when first used, so that `import pops` costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pops.embeddings import Embeddings
    from pops.engine import Engine
    from pops.errors import InputError, OutputError, PopsError, UsageError, WeightsError
    from pops.pictures import open_picture, save_picture

__all__ = [
    "Embeddings",
    "Engine",
    "InputError",
    "OutputError",
    "PopsError",
    "UsageError",
    "WeightsError",
    "__version__",
    "open_picture",
    "save_picture",
]

__version__ = "0.1.0"

_HOMES = {
    "Embeddings": "pops.embeddings",
    "Engine": "pops.engine",
    "InputError": "pops.errors",
    "OutputError": "pops.errors",
    "PopsError": "pops.errors",
    "UsageError": "pops.errors",
    "WeightsError": "pops.errors",
    "open_picture": "pops.pictures",
    "save_picture": "pops.pictures",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'pops' has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)

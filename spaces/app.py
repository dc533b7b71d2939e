"""The studio as a Space of the Hugging Face hub, which starts it by `python app.py`.

Variables of the Space choose what it serves:

    POPS_STACK      pocket (the default), or kandinsky-2.2 where there is a GPU
    POPS_MCP        1 lets assistants call the studio's tools
    POPS_STUDIO_PASSWORD, a secret, asks visitors for a password
"""

import functools
import importlib.util
import os
from typing import Any

from pops import Engine
from pops.studio.app import studio
from pops.studio.config import StudioConfig

STACK = os.environ.get("POPS_STACK", "pocket")
SECONDS = 120  # of the GPU, for one call


def on_borrowed_gpu(engine: Engine) -> Engine:
    """Do the engine's work in calls that a GPU is borrowed for, where the Space has ZeroGPU.

    Such a call runs in a process of its own, a fork that has this one's models, so they are loaded
    here. It does not have this one's threads, so progress is not told.
    """
    import spaces

    for part in ("image_encoder", "text_encoder", "unet", "movq"):
        getattr(engine.stack, part)
    inside = False

    @spaces.GPU(duration=SECONDS)
    def borrowed(name: str, *given: Any, **options: Any) -> Any:
        nonlocal inside
        inside = True
        try:
            return getattr(Engine, name)(engine, *given, **options)
        finally:
            inside = False

    for name in ("encode", "apply", "sample", "run", "render"):

        def call(*given: Any, name: str = name, **options: Any) -> Any:
            if inside:
                return getattr(Engine, name)(engine, *given, **options)
            return borrowed(name, *given, **{**options, "progress": None})

        setattr(engine, name, functools.wraps(getattr(Engine, name))(call))
    return engine


def main() -> int:
    """Serve until the Space is stopped."""
    zero = bool(os.environ.get("SPACES_ZERO_GPU")) and importlib.util.find_spec("spaces")
    config = StudioConfig(
        stack=STACK,
        device="cuda" if zero else "auto",
        host="0.0.0.0",
        port=int(os.environ.get("PORT", "7860")),
        allowed_hosts=tuple(filter(None, os.environ.get("SPACE_HOST", "").split(","))),
        mcp=os.environ.get("POPS_MCP", "") in ("1", "true"),
        browser=False,
    )
    return studio(config, on_borrowed_gpu if zero else None)


if __name__ == "__main__":
    raise SystemExit(main())

"""Rebuild the pocket stack from nothing: `python -m pops.pocket.build`.

Each stage is a module; `main` has their order. Nothing here is needed to use the stack.
"""

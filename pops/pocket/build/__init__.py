"""Rebuild the pocket stack from nothing: `python -m pops.pocket.build`.

`main` has the stages and their order. Nothing here is needed to use the stack.
"""

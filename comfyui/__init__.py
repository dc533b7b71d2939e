"""The pOps nodes for ComfyUI: operators on image embeddings, in a workflow.

extension  the nodes that ComfyUI is given
nodes      the nodes, one module for each kind
values     what goes along the wires, and how it is taken in
work       runs compositions, with progress, interruption and room on the GPU
places     the folders of models
"""

from .extension import comfy_entrypoint

__all__ = ["comfy_entrypoint"]

"""The pOps nodes for ComfyUI: operators on image embeddings, in a workflow.

extension     the nodes that ComfyUI is given
stack         Load stack
encoding      Encode pictures
operators     a node for each operator of the table, and for each of your own
composing     Compose: operators applied to what operators made, as a text
rendering     Render
files         Load and save embeddings
rows          Batch, pick and split embeddings
exchange      embeddings for unCLIP, SDXL "revision" and IPAdapter
values        what goes along the wires, and how it is taken in
work          progress, interruption and room in the memory of a GPU
places        the folders of models
"""

from .extension import comfy_entrypoint

__all__ = ["comfy_entrypoint"]

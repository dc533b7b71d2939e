"""The pOps nodes for ComfyUI: operators on image embeddings, in a workflow.

extension     the nodes that ComfyUI is given
stack         Load stack
pictures      Encode pictures, and pictures to try it with
texts         Encode text
operators     a node for each operator of the table, and for each of your own
composing     Compose: operators applied to what operators made, as a text
combining     Mix, slerp, add and swap
rendering     Render
finding       Find
files         Load and save embeddings
rows          Batch, pick and split embeddings
exchange      embeddings for unCLIP, SDXL "revision" and IPAdapter
values        what goes along the wires, and how it is taken in
work          runs compositions, with progress, interruption and room on the GPU
places        the folders of models
"""

from .extension import comfy_entrypoint

__all__ = ["comfy_entrypoint"]

"""The models that answer the stages of an evaluation.

Modules:
    rows     which model answers each stage, by preset, and how each is loaded
    vision   models of the hub: CLIP, DINOv2, depth, captions and sentences
    pocket   what the pocket stack has in their place
    windows  a detector that is made of CLIP alone
    make     the engine, which makes the pictures
    judge    a vision-language model behind an address
"""

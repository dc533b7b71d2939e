"""Stacks: the frozen models of one embedding space, loaded part by part.

Modules:
    spec       where the parts of a stack are: named stacks and folders of stacks
    models     the frozen models of a stack, each loaded when first used
    stack      a stack: its models, and the operators that are tuned from its base prior
    encoding   the inputs of operators: pictures, given embeddings, texts
    known      the words that a stack knows, where they are few
    clip       image and text encoders that encode each distinct input once
    vision     the image encoder and its image processor, without transformers
    untrained  stacks that have no base prior yet
    subjects   pictures in the place of words
    concepts   word lists by name, for swaps of what they are about
    convert    operators between the published weights file and an operator folder
"""

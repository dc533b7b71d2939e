"""The nodes: thin callers of the engine, one module for each kind.

stack      Load stack
pictures   Encode pictures, and pictures to try it with
texts      Encode text
operators  a node for each operator of the table, and for each of your own
composing  Compose: operators applied to what operators made, as a text
combining  Mix, slerp, add and swap
rendering  Render
finding    Find
files      Load and save embeddings
rows       Batch, pick and split embeddings
exchange   embeddings for unCLIP, SDXL "revision" and IPAdapter
"""

"""Models to measure and to test with: the published prior, random weights, tiny models.

Modules:
    published     the prior in the published way
    weights       models of any size with random weights
    tiny_datagen  tiny models for the stages of data generation
    tiny_stages   these as the stages of a run
    tiny_sdxl     a tiny SDXL with its IP-Adapter
"""

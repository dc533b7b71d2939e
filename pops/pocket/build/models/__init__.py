"""The models of the pocket stack that the build trains itself, and how.

Modules:
    clip         image and text encoders
    autoencoder  pictures to latents and back
    decoder      embeddings to latents
    judge        the separate classifier
    priors       the base prior
"""

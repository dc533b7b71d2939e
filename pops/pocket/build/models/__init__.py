"""The models of the pocket stack that the build trains itself, and how it trains them.

Modules:
    clip           the image encoder and the text encoder
    clip_training  the losses and the training of both
    autoencoder    from pictures to latents and back
    decoder        from embeddings to latents
    judge          the classifier that marks pictures of the other models
    priors         the base prior
    components     principal components of pictures
"""

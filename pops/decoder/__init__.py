"""The decoder of Kandinsky 2.2: a UNet that is conditioned on embeddings, and a MoVQ.

Weights and configs are key for key those of diffusers' `UNet2DConditionModel`, `VQModel` and
`DDPMScheduler`. What differs is what is computed: what depends on the embeddings alone is computed
once for all steps. Importing diffusers takes longer than drawing a picture of the pocket stack.

Modules:
    config     the sizes of UNet and MoVQ
    unet       predicts the noise of latents from an embedding
    movq       turns latents into pictures
    scheduler  the noise levels and the steps between them
    layers     functions of both models, and layers that two models share
"""

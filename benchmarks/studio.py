"""Many at once: clients that all ask the studio for their own, answered, refused or mixed up.

    python -m benchmarks.studio --json

Each client sends pictures of its own; what it gets is compared with what the engine gives for the
same pictures alone. A client that is refused, since too many wait, tries again a little later, and
counts as refused if it has to give up.
"""

from __future__ import annotations

import ctypes
import gc
import json
import os
import shutil
import socket
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import torch
from PIL import Image

from pops.settings.fields import STEPS, Range, Settings, setting
from pops.settings.flags.parsing import parse, run_command
from pops.studio.app import start
from pops.studio.config import StudioConfig
from pops.studio.service import StudioService

__all__ = ["StudioBenchmark", "main"]

OPERATOR = "texturing"
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
CLOSE = 1e-3  # between embeddings that are the same


@dataclass(frozen=True, kw_only=True)
class StudioBenchmark(Settings):
    """Measure how the studio bears many users on the pocket stack."""

    clients: int = setting(50, "clients at the same time", within=Range(1, 1000))
    requests: int = setting(4, "requests of each, one after the other", within=Range(1, 1000))
    rounds: int = setting(
        3, "times that all of it is done, in one process: memory must stay", within=Range(1, 100)
    )
    render_steps: int = setting(
        4, "drawing steps of a request: the queue is measured, not them", within=STEPS
    )
    patience: float = setting(
        300.0, "seconds after which a client that is refused gives up", within=Range(0, 1e6)
    )
    waiting: int = setting(64, "jobs that may wait, as in pops studio", within=Range(1, 200))
    page: bool = setting(True, "also time a browser from page load to first result, with Chromium")
    json: bool = setting(False, "print the numbers as one JSON object, on the last line")

    examples = ("python -m benchmarks.studio --json",)


@dataclass
class Counts:
    """The outcomes of the requests of a round, its seconds, and the megabytes used after it."""

    answered: int = 0
    refused: int = 0
    mixed_up: int = 0
    tries: int = 0  # with those that were told to come again
    seconds: float = 0.0
    slowest: float = 0.0
    refusal: float = 0.0  # seconds, of the slowest refusal
    memory: float = 0.0
    in_use: float = 0.0  # of which the allocator does not give back to the system when asked to
    store: float = 0.0  # of which is kept for those who asked, at most 256


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark from the command line.

    Args:
        arguments: The words of the command line; None: those of this process.

    Returns:
        The exit status; 1 where a client got what is another's.
    """
    return run_command("benchmarks.studio", arguments, _run)


def _run(arguments: list[str]) -> int:
    config = parse("python -m benchmarks.studio", StudioBenchmark, arguments)
    if config is None:
        return 0
    first: float | None = None
    with _running(config.waiting) as (url, studio):
        if config.page:
            first = _time_page(url)
            print(f"{'page to first result':<24}{'' if first is None else f'{first:.6g}':>10}")
        rounds = _load(config, url, studio)
    if config.json:
        print(
            json.dumps({"page_to_first_result": first, "rounds": [asdict(one) for one in rounds]})
        )
    return 1 if any(counts.mixed_up for counts in rounds) else 0


@contextmanager
def _running(waiting: int) -> Iterator[tuple[str, StudioService]]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server, url, studio = start(StudioConfig(port=port, browser=False, waiting=waiting))
    try:
        _wait_until_warm(studio)
        yield url.rstrip("/"), studio
    finally:
        studio.queue.close()
        server.get_blocks().close(verbose=False)


def _wait_until_warm(studio: StudioService) -> None:
    job = studio.queue.submit(lambda job: None)
    while not job.ended:
        time.sleep(0.05)


def _load(config: StudioBenchmark, url: str, studio: StudioService) -> list[Counts]:
    """Run all clients at once, round after round.

    The first round, of one request each, fills every pool of threads and memory.
    """
    expected = [_expected(studio, client) for client in range(config.clients)]
    rounds = []
    for number in range(config.rounds + 1):
        counts = Counts()
        started = time.perf_counter()
        _round(config, url, expected, config.requests if number else 1, counts)
        counts.seconds = time.perf_counter() - started
        gc.collect()
        counts.memory = _resident_megabytes()
        _give_back()
        counts.in_use = _resident_megabytes()
        counts.store = studio.store.bytes / 2**20
        rounds.append(counts)
        print(f"round {number}")
        for name, value in asdict(counts).items():
            print(f"  {name.replace('_', ' '):<22}{value:>10.6g}", flush=True)
    return rounds


def _round(
    config: StudioBenchmark,
    url: str,
    expected: Sequence[torch.Tensor],
    requests: int,
    counts: Counts,
) -> None:
    with ThreadPoolExecutor(config.clients) as pool:
        clients = [
            pool.submit(_client, config, url, number, requests, expected[number], counts)
            for number in range(config.clients)
        ]
        for client in clients:
            client.result()


def _picture(client: int) -> Image.Image:
    """Make a picture that no other client has."""
    picture = Image.new("RGB", (96, 96), (client * 5 % 256, client * 11 % 256, client * 17 % 256))
    picture.paste((255 - client, client, 128), (client % 48, 20, client % 48 + 40, 70))
    return picture


def _expected(studio: StudioService, client: int) -> torch.Tensor:
    """Make the embedding of each of a client's requests by the engine alone, on the worker."""
    found: list[torch.Tensor] = []

    def work(_: object) -> None:
        wood = studio.store.get("textures/wood").source
        made = studio.engine.apply(OPERATOR, [(_picture(client), wood)], seeds=[18])
        found.append(made.image_embeds)

    job = studio.queue.submit(work)
    while not job.ended:
        time.sleep(0.005)
    return found[0]


def _client(
    config: StudioBenchmark,
    url: str,
    number: int,
    requests: int,
    expected: torch.Tensor,
    counts: Counts,
) -> None:
    content = BytesIO()
    _picture(number).save(content, "PNG")
    for _ in range(requests):
        started = time.perf_counter()
        added = Request(f"{url}/inputs", content.getvalue(), {"x-name": f"{number}.png"})
        mine = json.load(urlopen(added, timeout=600))["id"]
        told = None
        while told is None and time.perf_counter() - started < config.patience:
            counts.tries += 1
            asked = time.perf_counter()
            told = _apply(url, number, mine, config.render_steps)
            if told is None:
                counts.refusal = max(counts.refusal, time.perf_counter() - asked)
                time.sleep(1 + number % 7 / 7)
        if told is None:
            counts.refused += 1
            continue
        counts.answered += 1
        counts.slowest = max(counts.slowest, time.perf_counter() - started)
        found = _embedding(urlopen(url + told["embedding"], timeout=600).read())
        if told["expression"] != f"{OPERATOR}('{number}.png', 'wood.png')" or (
            (found - expected).abs().max() > CLOSE
        ):
            counts.mixed_up += 1


def _apply(url: str, number: int, mine: str, steps: int) -> dict[str, str] | None:
    """Ask for the result of one request; None if the studio is busy."""
    settings = {"seeds": [18], "render_steps": steps}
    data = json.dumps({"data": [OPERATOR, [mine, "textures/wood"], "", settings]}).encode()
    call = f"{url}/gradio_api/call/apply"
    head = {"content-type": "application/json", "x-client": f"{number}"}
    try:
        job = json.load(urlopen(Request(call, data, head), timeout=600))
    except HTTPError as refused:
        if refused.code == 503:
            return None
        raise
    event = ""
    with urlopen(f"{call}/{job['event_id']}", timeout=600) as stream:
        for line in stream:
            kind, _, said = line.decode().strip().partition(": ")
            if kind == "event":
                event = said
            elif kind == "data" and event == "complete":
                result: dict[str, str] = json.loads(said)[0]["results"][0]
                return result
            elif kind == "data" and event == "error":
                if "busy" in said:
                    return None
                raise RuntimeError(said)
    raise RuntimeError("the stream ended without a result")


def _embedding(content: bytes) -> torch.Tensor:
    from pops.io.embeddings import load_embeddings

    with TemporaryDirectory() as folder:
        path = Path(folder) / "made.safetensors"
        path.write_bytes(content)
        return load_embeddings(path).image_embeds


def _time_page(url: str) -> float | None:
    """Time the way from opening the page to the first result in it; None without a browser."""
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        print("no browser: the page is not timed", file=sys.stderr)
        return None
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=found, args=["--no-sandbox"])
        page = browser.new_page()
        started = time.perf_counter()
        page.goto(url)
        page.wait_for_selector("html[data-ready]")
        page.click("#panel-apply .primary")
        page.wait_for_selector(".result img", timeout=600_000)
        seconds = time.perf_counter() - started
        browser.close()
    return seconds


def _give_back() -> None:
    """Let the C library return the memory that it holds and that nobody uses, where it can."""
    library = ctypes.CDLL(None)
    if hasattr(library, "malloc_trim"):
        library.malloc_trim(0)


def _resident_megabytes() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


if __name__ == "__main__":
    raise SystemExit(main())

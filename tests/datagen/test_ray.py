"""Data generation by Ray Data, on a real local cluster of two nodes."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pops.cli import main as cli
from pops.datagen.config import RandomConfig, ScenesConfig
from pops.datagen.engines.local import Local, schedule
from pops.datagen.engines.ray import make_on_cluster
from pops.datagen.folder.manifest import read_manifest
from pops.datagen.folder.store import SampleStore
from pops.datagen.generators import GENERATORS
from pops.datagen.pocket.prompts import POCKET_WORDS
from pops.datagen.pocket.stages import pocket_stages
from pops.datagen.run import Generation, write_all
from pops.datagen.sample import Rejected, Script
from pops.settings.shard import Shard
from tests.data import tiny_data

ray = pytest.importorskip("ray")
pytestmark = [
    pytest.mark.slow,
    # Ray leaves sockets and files of the processes it has started to the end.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]

COUNT, SIZE = 48, 16


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    from ray.cluster_utils import Cluster

    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    ray.init(address=cluster.address, log_to_driver=False, logging_level="ERROR")
    yield cluster
    ray.shutdown()
    cluster.shutdown()


def files(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.suffix != ".jsonl" and not path.name.startswith(".")
    }


def nodes_of_actors() -> list[str]:
    """The node of every stage's actor that is alive."""
    actors = ray._private.state.actors().values()
    return [
        actor["Address"]["NodeID"]
        for actor in actors
        if "_Stage" in actor["ActorClassName"] and actor["State"] == "ALIVE"
    ]


def test_every_sample_is_delivered_once_though_a_node_is_killed(
    cluster: Any, tmp_path: Path
) -> None:
    second = cluster.add_node(num_cpus=1)
    cluster.wait_for_nodes()
    plan = Generation("scenes", POCKET_WORDS, 1, COUNT)
    config = ScenesConfig(preset="pocket", size=SIZE, engine="ray", batch_size=2)
    folder = tmp_path / "ray"
    store = SampleStore(folder, Shard())
    nodes: list[str] = []
    there: list[int] = []

    def kill_when_begun() -> None:
        while not list(folder.glob("*.jpg")):
            time.sleep(0.01)
        nodes.extend(nodes_of_actors())
        cluster.remove_node(second, allow_graceful=False)
        there.append(len(list(folder.glob("*_inpainted.jpg"))))

    killer = threading.Thread(target=kill_when_begun)
    with store.open({"kind": "scenes"}):
        killer.start()
        stages = GENERATORS["scenes"].stages
        made = make_on_cluster(plan.indices, plan.script, stages, config)
        written = sum(1 for _ in write_all(made, store, 1, 2))
    killer.join()
    assert second.node_id in nodes, "no actor was on the second node"
    assert there[0] < COUNT == written, "the node was killed too late"
    lines = list(read_manifest(folder))
    assert sorted(line["index"] for line in lines) == list(range(COUNT))
    here: dict[str, bytes] = {}
    for one in schedule(plan.indices, plan.script, Local(pocket_stages(SIZE)), 16):
        here |= one.sample.encoded().files
    assert files(folder) == here


def test_what_is_rejected_is_made_anew_as_in_one_process(cluster: Any) -> None:
    plan = Generation("random objects", POCKET_WORDS, 2, 10)
    config = RandomConfig(preset="pocket", size=SIZE, engine="ray", batch_size=4)

    def picky(index: int, attempt: int) -> Script:
        sample = yield from plan.script(index, attempt)
        if attempt < index % 4:
            raise Rejected(f"attempt {attempt}")
        return sample

    reasons: dict[str, list[str]] = {"ray": [], "local": []}
    there = make_on_cluster(plan.indices, picky, ["text2image"], config, reasons["ray"].append)
    here = schedule(plan.indices, picky, Local(pocket_stages(SIZE)), 4, reasons["local"].append)
    ours, theirs = (
        {one.index: (one.attempt, one.rejections, one.sample.encoded()) for one in made}
        for made in (there, here)
    )
    assert ours == theirs
    assert sorted(reasons["ray"]) == sorted(reasons["local"])


def test_the_error_of_a_stage_is_told_in_one_line(
    cluster: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine").mkdir()
    arguments = ["--preset=faithful", "--engine=ray", "--count=2", f"--output_dir={tmp_path / 'a'}"]
    models = f"--models=text2image={tmp_path / 'mine'}"
    assert cli.main(["generate", "random", *arguments, models]) == 1
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert "mine" in said and "damaged" in said


def test_a_cache_is_the_same_though_a_node_is_killed(cluster: Any, tmp_path: Path) -> None:
    data = tiny_data.write_texturing(tmp_path / "data", 24)
    given = [f"--dataset_path={data}", "--variants=1", "--shard_records=2", "--device=cpu"]
    second = cluster.add_node(num_cpus=1)
    cluster.wait_for_nodes()
    folder = tmp_path / "ray"
    there: list[int] = []

    def kill_when_begun() -> None:
        while not list(folder.glob("shard-*.json")):
            time.sleep(0.01)
        cluster.remove_node(second, allow_graceful=False)
        there.append(len(list(folder.glob("shard-*.json"))))

    killer = threading.Thread(target=kill_when_begun)
    killer.start()
    assert cli.main(["embed", *given, "--engine=ray", "--actors=2", f"--out={folder}"]) == 0
    killer.join()
    assert there[0] < 12, "the node was killed too late"
    assert cli.main(["embed", *given, "--num_workers=0", f"--out={tmp_path / 'local'}"]) == 0
    assert files(folder) == files(tmp_path / "local")


def test_an_index_is_the_same_though_a_node_is_killed(cluster: Any, tmp_path: Path) -> None:
    pictures = tiny_data.write_texturing(tmp_path / "data", 24)
    (pictures / "broken.png").write_bytes(b"no picture")
    given = [str(pictures), "--shard_pictures=8", "--device=cpu"]
    second = cluster.add_node(num_cpus=1)
    cluster.wait_for_nodes()
    folder = tmp_path / "ray"
    there: list[int] = []

    def kill_when_begun() -> None:
        while not list(folder.glob("shard-*.json")):
            time.sleep(0.01)
        cluster.remove_node(second, allow_graceful=False)
        there.append(len(list(folder.glob("shard-*.json"))))

    killer = threading.Thread(target=kill_when_begun)
    killer.start()
    assert cli.main(["index", *given, "--engine=ray", "--actors=2", f"--out={folder}"]) == 1
    killer.join()
    assert cli.main(["index", *given, "--num_workers=0", f"--out={tmp_path / 'local'}"]) == 1
    shards = len(list((tmp_path / "local").glob("shard-*.json")))
    assert there[0] < shards, "the node was killed too late"
    assert files(folder) == files(tmp_path / "local")
    # Nothing is left to do, so no picture is encoded twice.
    before = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert cli.main(["index", *given, "--engine=ray", f"--out={folder}"]) == 1
    assert {path: path.stat().st_mtime_ns for path in before} == before

"""Data generation on a real local Ray cluster of two nodes."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pops.datagen.cluster import RayRunner
from pops.datagen.config import ScenesConfig
from pops.datagen.generators import GENERATORS
from pops.datagen.pocket import POCKET_WORDS, pocket_stages
from pops.datagen.run import Plan, write_all
from pops.datagen.scheduler import Local, schedule
from pops.datagen.store import Shard, Store, read_manifest

ray = pytest.importorskip("ray")
pytestmark = [
    pytest.mark.slow,
    # Ray leaves sockets and files of the processes it has started to the end.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]

COUNT, SIZE = 60, 16
PLAN = Plan("scenes", POCKET_WORDS, 1, COUNT)


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    from ray.cluster_utils import Cluster

    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    ray.init(address=cluster.address, log_to_driver=False, logging_level="ERROR")
    yield cluster
    ray.shutdown()
    cluster.shutdown()


def test_every_sample_is_delivered_once_though_a_node_is_killed(
    cluster: Any, tmp_path: Path
) -> None:
    second = cluster.add_node(num_cpus=1)
    cluster.wait_for_nodes()
    config = ScenesConfig(preset="pocket", size=SIZE, engine="ray", actors=2)
    runner = RayRunner(config, GENERATORS["scenes"].stages, {"num_cpus": 0.1})
    actors = [actor for pool in runner.actors.values() for actor in pool]
    nodes = ray.get([actor.node.remote() for actor in actors])
    assert second.node_id in nodes, "no actor is on the second node"
    store = Store(tmp_path / "ray", Shard())
    killed = threading.Event()

    def kill_when_begun() -> None:
        while not list((tmp_path / "ray").glob("*.jpg")):
            time.sleep(0.01)
        cluster.remove_node(second, allow_graceful=False)
        killed.set()

    killer = threading.Thread(target=kill_when_begun)
    with store.open({"kind": "scenes"}):
        killer.start()
        made = schedule(PLAN.indices, PLAN.script, runner, 2)
        written = sum(1 for _ in write_all(made, store, 1, 2))
    killer.join()
    assert killed.is_set() and written == COUNT
    assert second.node_id not in ray.get([actor.node.remote() for actor in actors])
    runner.close()
    lines = list(read_manifest(tmp_path / "ray"))
    assert sorted(line["index"] for line in lines) == list(range(COUNT))
    here = {one.index: one.sample.name for one in schedule(range(9), PLAN.script, local(), 4)}
    assert here.items() <= {line["index"]: line["name"] for line in lines}.items()


def local() -> Local:
    return Local(pocket_stages(SIZE))

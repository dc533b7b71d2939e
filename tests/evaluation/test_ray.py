"""An evaluation by the engines of data generation, on a real local cluster of two nodes."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pops.evaluation.commands import eval_texturing
from pops.evaluation.config import EvalTexturingConfig
from pops.evaluation.store import PictureLine, read_lines

ray = pytest.importorskip("ray")
pytestmark = [
    pytest.mark.slow,
    # Ray leaves sockets and files of the processes it has started to the end.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    from ray.cluster_utils import Cluster

    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    ray.init(address=cluster.address, log_to_driver=False, logging_level="ERROR")
    yield cluster
    ray.shutdown()
    cluster.shutdown()


def settings(out: Path, engine: str) -> EvalTexturingConfig:
    return EvalTexturingConfig(
        out=out,
        engine=engine,  # type: ignore[arg-type]
        methods=("mean",),
        metrics=("object_clip", "object_edges"),
        limit=24,
        seeds=(0,),
        batch_size=2,
        actors=2,
        render_steps=2,
        device="cpu",
    )


def test_every_picture_is_measured_once_though_a_node_is_killed(
    cluster: Any, tmp_path: Path
) -> None:
    second = cluster.add_node(num_cpus=1)
    cluster.wait_for_nodes()
    folder = tmp_path / "ray"
    there: list[int] = []

    def kill_when_begun() -> None:
        while not (folder / "rows.jsonl").exists() or not read_lines(folder, PictureLine):
            time.sleep(0.05)
        cluster.remove_node(second, allow_graceful=False)
        there.append(len(read_lines(folder, PictureLine)))

    killer = threading.Thread(target=kill_when_begun)
    killer.start()
    assert eval_texturing(settings(folder, "ray")) == 0
    killer.join()
    assert there[0] < 24, "the node was killed too late"
    assert eval_texturing(settings(tmp_path / "local", "local")) == 0
    by_ray, here = read_lines(folder, PictureLine), read_lines(tmp_path / "local", PictureLine)
    assert [line.index for line in by_ray] == list(range(24))
    for a, b in zip(by_ray, here, strict=True):
        assert (a.request, a.method, a.seed, a.words) == (b.request, b.method, b.seed, b.words)
        assert a.numbers == pytest.approx(b.numbers, abs=1e-4)

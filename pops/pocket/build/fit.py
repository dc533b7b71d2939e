"""The training loop of the build's own models, which trains for a given time and can go on later.

`Fit` owns all state of one stage: the module, the moving average of its weights, the optimiser, the
step, the seconds spent and the curves of the losses. The state is one file, which is replaced as a
whole and can be read without running code.
"""

import copy
import json
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor, nn

from pops.io.files import atomic_path
from pops.io.machine.processes import end_with_parent
from pops.pocket.build.progress import minutes
from pops.training.step.ema import update_ema

__all__ = ["Fit", "device", "in_processes"]

Losses = dict[str, Tensor]


def device() -> torch.device:
    """Choose the device that models are trained on.

    Returns:
        The first GPU, or the CPU where there is none.
    """
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


Work = Callable[..., None]  # takes its rank, the number of processes, and further arguments


def in_processes(work: Work, world: int, *more: object) -> None:
    """Run a function in several processes, whose `Fit`s average their gradients.

    Each process has one thread. On a CPU one such process a core is much faster than one process
    with many threads. A single process is this one, with all its threads.

    Args:
        work: the function, called as `work(rank, world, *more)`.
        world: the number of processes.
        more: further arguments, which can be pickled.
    """
    if world == 1:
        work(0, 1, *more)
        return
    with tempfile.TemporaryDirectory() as folder:
        meeting = Path(folder, "meeting").as_uri()
        torch.multiprocessing.spawn(_join, args=(world, meeting, work, more), nprocs=world)


def _join(rank: int, world: int, meeting: str, work: Work, more: tuple[object, ...]) -> None:
    end_with_parent()
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=meeting, rank=rank, world_size=world)
    try:
        work(rank, world, *more)
    finally:
        dist.destroy_process_group()


class Fit:
    """A module in training, with everything that is needed to go on later.

    The learning rate rises over the first 100 steps of every call of `run` and falls to zero over
    the last part of its time, so that each call ends with a model that can be used.

    Args:
        folder: where the state is kept; an earlier state there is loaded.
        module: the module to train.
        lr: the highest learning rate of AdamW.
        weight_decay: the weight decay of AdamW.
        average: the share that the moving average keeps in a step, at most.
        cool: the share of a call's time over which the learning rate falls.
        half: whether to compute in bfloat16 on a CPU, too; a GPU always does.
    """

    def __init__(
        self,
        folder: Path,
        module: nn.Module,
        lr: float,
        *,
        weight_decay: float = 0.01,
        average: float = 0.999,
        cool: float = 0.3,
        half: bool = False,
    ) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.module = module.to(device())
        self.ema = copy.deepcopy(module).requires_grad_(False).eval()
        self.optimiser = torch.optim.AdamW(
            [p for p in module.parameters() if p.requires_grad],
            lr=lr,
            betas=(0.9, 0.98),
            weight_decay=weight_decay,
        )
        self.lr, self.average, self.cool = lr, average, cool
        self.half = half or device().type == "cuda"
        self.step, self.seconds = 0, 0.0
        self.curve: list[dict[str, float]] = []
        if self.path.exists():
            self._load()

    @property
    def path(self) -> Path:
        """The file of the state."""
        return self.folder / "state.pt"

    def _load(self) -> None:
        state = torch.load(self.path, map_location="cpu", weights_only=True)
        self.module.load_state_dict(state["module"])
        self.ema.load_state_dict(state["smooth"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.step, self.seconds = state["step"], state["seconds"]
        self.curve = state["curve"]

    def save(self) -> None:
        """Write the state, and the curves as JSON beside it."""
        with atomic_path(self.path) as path:
            torch.save(
                {
                    "module": self.module.state_dict(),
                    "smooth": self.ema.state_dict(),
                    "optimiser": self.optimiser.state_dict(),
                    "step": self.step,
                    "seconds": self.seconds,
                    "curve": self.curve,
                },
                path,
            )
        (self.folder / "curve.json").write_text(json.dumps(self.curve), encoding="utf-8")

    def _rates(self, seconds: float, agreed: bool) -> Iterator[float]:
        """Yield the learning rate of every step until the time is over.

        Where processes are `agreed`, all go by the clock of the first, so that they take the same
        number of steps and none waits for one that has stopped.
        """
        start = time.monotonic()
        warm = 0
        while True:
            spent = torch.tensor(time.monotonic() - start)
            if agreed:
                dist.broadcast(spent, 0)
            if spent >= seconds:
                return
            warm += 1
            left = (seconds - float(spent)) / (self.cool * seconds)
            yield self.lr * min(1.0, warm / 100, left)

    def _average_gradients(self) -> None:
        gradients = [p.grad for p in self.module.parameters() if p.grad is not None]
        flat = torch.cat([g.flatten() for g in gradients])
        dist.all_reduce(flat)
        flat /= dist.get_world_size()
        for gradient, piece in zip(
            gradients, flat.split([g.numel() for g in gradients]), strict=True
        ):
            gradient.copy_(piece.view_as(gradient))

    def run(
        self,
        seconds: float,
        losses: Callable[[int], Losses],
        *,
        save_every: float = 60.0,
    ) -> None:
        """Train for some time on the sum of several losses.

        Where there are several processes (`in_processes`), all average their gradients, and the
        first writes the state.

        Args:
            seconds: the time to train.
            losses: computes the losses of a step, by name, from its number.
            save_every: seconds after which the state is written.
        """
        average_gradients = dist.is_initialized()
        writes = not average_gradients or dist.get_rank() == 0
        self.module.train()
        if writes:
            print(f"{self.folder.name}: {minutes(seconds)} from step {self.step} on", flush=True)
        last_save = last_note = began = time.monotonic()
        before, noted = self.seconds, self.step
        for rate in self._rates(seconds, average_gradients):
            for group in self.optimiser.param_groups:
                group["lr"] = rate
            with torch.autocast(device().type, torch.bfloat16, enabled=self.half):
                parts = losses(self.step)
            loss = torch.stack(list(parts.values())).sum()
            self.optimiser.zero_grad(set_to_none=True)
            loss.backward()
            if average_gradients:
                self._average_gradients()
            torch.nn.utils.clip_grad_norm_(self.module.parameters(), 1.0)
            self.optimiser.step()
            self._update_ema()
            self.step += 1
            now = time.monotonic()
            self.seconds = before + now - began
            if writes and now - last_note > 15:
                speed = (self.step - noted) / (now - last_note)
                self._note({k: float(v.detach()) for k, v in parts.items()}, speed)
                last_note, noted = now, self.step
            if writes and now - last_save > save_every:
                self.save()
                last_save = now
        self.module.eval()
        if writes:
            self.save()

    @torch.no_grad()
    def _update_ema(self) -> None:
        average, parameters = list(self.ema.parameters()), list(self.module.parameters())
        update_ema(average, parameters, self.average, self.step)
        for own, other in zip(self.ema.buffers(), self.module.buffers(), strict=True):
            own.copy_(other)

    def _note(self, values: dict[str, float], speed: float) -> None:
        self.curve.append({"step": self.step, "seconds": round(self.seconds, 1), **values})
        shown = " ".join(f"{k} {v:.4f}" for k, v in values.items())
        print(
            f"{self.folder.name}: step {self.step} ({speed:.1f}/s, {self.seconds:.0f} s) {shown}",
            flush=True,
        )

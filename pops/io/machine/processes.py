"""Worker processes that end when the process that started them does.

A process that is killed cannot end its workers. So each worker asks the system to be killed with
its parent (Linux), or waits in a thread for its parent's end (elsewhere).
"""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import sys
import threading
from concurrent.futures import ProcessPoolExecutor
from multiprocessing.connection import wait
from typing import Literal

__all__ = ["end_with_parent", "process_pool"]

PR_SET_PDEATHSIG = 1  # of <sys/prctl.h>: the signal that a process gets when its parent dies
StartMethod = Literal["fork", "spawn", "forkserver"]


def end_with_parent(worker: int = 0) -> None:
    """Make sure that this process ends when its parent does. To be called first in a worker.

    Args:
        worker: The number of the worker, which loaders of data pass; it is not used.
    """
    parent = multiprocessing.parent_process()
    if parent is None:  # no worker of multiprocessing
        return
    if not (sys.platform == "linux" and _killed_with_parent(parent.pid)):
        threading.Thread(target=_end_after, args=(parent.sentinel,), daemon=True).start()


def process_pool(workers: int, start_method: StartMethod | None = None) -> ProcessPoolExecutor:
    """Make a pool of worker processes that end with this process.

    Args:
        workers: The number of processes.
        start_method: How they are started; None for the default of Python.

    Returns:
        The pool; use it as a context manager.
    """
    context = multiprocessing.get_context(start_method)
    return ProcessPoolExecutor(workers, mp_context=context, initializer=end_with_parent)


def _killed_with_parent(pid: int | None) -> bool:
    """Ask Linux to kill this process with its parent; False where it cannot be asked."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL) != 0:
        return False
    return os.getppid() == pid  # it may have died before, or another process started this one


def _end_after(sentinel: int) -> None:
    """End this process at once when the sentinel of its parent is ready."""
    wait([sentinel])
    os._exit(1)

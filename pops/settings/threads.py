"""How the threads of OpenMP, which compute everything on a CPU, wait for their next work.

By default a waiting thread spins: it keeps its core busy. Where another process wants that core,
the threads of both wait for each other, and everything takes several times as long.
"""

from __future__ import annotations

import os
from collections.abc import MutableMapping

__all__ = ["CHOICES", "wait_without_spinning"]

# OMP_WAIT_POLICY is the standard's word for it, which GNU's, LLVM's and Intel's OpenMP read. GNU's
# may spin for a moment before it sleeps: that costs others nothing, and saves some waking up.
WAITING = {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "100"}
# Whoever has set one of these has chosen how to wait.
CHOICES = (*WAITING, "KMP_BLOCKTIME", "KMP_LIBRARY")


def wait_without_spinning(environment: MutableMapping[str, str] = os.environ) -> None:
    """Let OpenMP's idle threads sleep, unless the user has chosen how they wait.

    OpenMP reads its settings once, when torch is imported: call this before. Processes that are
    started later inherit them.

    Args:
        environment: The environment variables, which are changed in place.
    """
    if not any(name in environment for name in CHOICES):
        environment.update(WAITING)

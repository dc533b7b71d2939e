"""The threads of torch sleep while they wait, unless the user has chosen otherwise."""

import os
import subprocess
import sys

import pytest

from pops.settings.threads import CHOICES, WAITING, wait_without_spinning


def test_idle_threads_sleep_where_nothing_was_chosen():
    environment = {"HOME": "/"}
    wait_without_spinning(environment)
    assert environment == {"HOME": "/", **WAITING}


@pytest.mark.parametrize("name", CHOICES)
def test_what_the_user_has_chosen_is_kept(name: str):
    environment = {name: "7"}
    wait_without_spinning(environment)
    assert environment == {name: "7"}


@pytest.mark.parametrize("module", ["pops", "benchmarks.harness.machine", "tests"])
def test_every_way_in_chooses_before_torch_is_imported(module: str):
    kept = {name: value for name, value in os.environ.items() if name not in CHOICES}
    code = (
        "import builtins, os, sys\n"
        "before, seen = builtins.__import__, []\n"
        "def look(name, *rest, **named):\n"
        "    if name == 'torch' and not seen:\n"
        "        seen.append(os.environ.get('OMP_WAIT_POLICY'))\n"
        "    return before(name, *rest, **named)\n"
        "builtins.__import__ = look\n"
        f"import {module}\n"
        "import torch\n"
        "assert seen == ['PASSIVE'], seen\n"
    )
    run = subprocess.run([sys.executable, "-c", code], env=kept, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr

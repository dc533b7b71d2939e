"""`pops doctor`: what there is to know before the first download or the first run."""

import json
from dataclasses import asdict

from pops.settings.commands import DoctorConfig

__all__ = ["doctor"]


def doctor(config: DoctorConfig) -> int:
    """Run `pops doctor`: print what was found, a line each, and what to do about it.

    Args:
        config: the settings of the command.

    Returns:
        The exit status: 1 where something has to be done.
    """
    from pops.doctor.examine import examine

    lines = []
    for line in examine(
        config.stack, config.device, config.dtype, config.offload, config.renderer, config.step
    ):
        lines.append(line)
        if not config.json:
            print(line, flush=True)
    if config.json:
        print(json.dumps([{"ok": line.ok, **asdict(line)} for line in lines]))
    return 0 if all(line.ok for line in lines) else 1

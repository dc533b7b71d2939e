"""Run a protocol: make its pictures, measure them, write a line each, and report."""

from __future__ import annotations

import sys
from collections.abc import Generator
from contextlib import closing
from dataclasses import asdict
from typing import Any

from tqdm import tqdm

from pops.datagen.engines.local import Finished, Local, schedule
from pops.datagen.stages import StageModel, Stages
from pops.evaluation.config import EvalConfig
from pops.evaluation.metrics.base import Metric, stages_of
from pops.evaluation.metrics.table import choose_metrics
from pops.evaluation.protocols.inputs import draw_inputs
from pops.evaluation.protocols.rows import Evaluation, choose_methods
from pops.evaluation.protocols.table import PROTOCOLS
from pops.evaluation.report.write import write_report
from pops.evaluation.store import Lines, PictureLine, read_lines
from pops.settings.progress import ProgressBars
from pops.settings.shard import Shard

__all__ = ["evaluate"]


def evaluate(operator: str, config: EvalConfig) -> int:
    """Run the protocol of an operator.

    Args:
        operator: A key of `PROTOCOLS`.
        config: The settings of the command.

    Returns:
        The exit status.
    """
    protocol = PROTOCOLS[operator]
    stages = config.load_stages()
    metrics, without = choose_metrics(protocol.metrics, config.metrics, stages.models)
    plan = Evaluation(
        protocol.requests(config),
        choose_methods(protocol, config),
        config.seeds,
        metrics,
        config.limit,
        config.keep_pictures,
        _looks(config),
    )
    models = {stage: stages.models[stage] for stage in ("make", *stages_of(metrics))}
    if config.judge is None:  # a judge is there where it is asked for, and missed nowhere else
        without = {name: why for name, why in without.items() if not name.startswith("judge_")}
    for name, reason in without.items():
        print(f"left out: {name}: {reason}", file=sys.stderr)
    if config.dry_run:
        print("\n".join(_what(operator, config, plan, models)))
        return 0
    settings = _settings(operator, config, plan, models)
    with closing(ProgressBars()) as progress:
        inputs = [one for request in plan.requests for one in request.inputs.values()]
        draw_inputs(inputs, stages, config.batch_size, progress)
    done = _measure_all(config, plan, stages, settings)
    left = len(plan.rows) - len(read_lines(config.out, PictureLine))
    if left:
        print(f"{config.out}: {done} pictures of this shard measured, {left} of others are left")
        return 0
    for path in write_report(config.out, settings, metrics, without):
        print(path)
    return 0


def _measure_all(
    config: EvalConfig, plan: Evaluation, stages: Stages, settings: dict[str, Any]
) -> int:
    """Make and measure all pictures of this machine that have no line yet."""
    shard = Shard.parse(config.shard)
    lines = Lines(config.out, shard, PictureLine)
    indices = plan.indices(shard)
    with (
        lines.open(settings) as there,
        tqdm(total=len(indices), desc="pictures", unit="", file=sys.stderr) as bar,
    ):
        left = [index for index in indices if index not in there]
        bar.update(len(indices) - len(left))
        with closing(_finished(left, plan, stages, config)) as finished:
            for one in finished:
                line = PictureLine(index=one.index, seconds=one.seconds, **one.sample.facts)
                lines.add(line, one.sample.files)
                bar.update()
    return len(indices)


def _finished(
    indices: list[int], plan: Evaluation, stages: Stages, config: EvalConfig
) -> Generator[Finished, None, None]:
    """Run the scripts of pictures by the engine that the settings name."""
    if config.engine == "local":
        return schedule(indices, plan.script, Local(stages), config.batch_size)
    from pops.datagen.engines.ray import make_on_cluster

    asked = ("make", *stages_of(plan.metrics))
    return make_on_cluster(indices, plan.script, asked, config)


def _looks(config: EvalConfig) -> tuple[str, ...]:
    if config.chosen_preset == "pocket":
        from pops.pocket.world.vocabulary import MATERIAL_WORDS

        return tuple(MATERIAL_WORDS.values())
    from pops.evaluation.protocols.inputs import list_words

    return list_words("looks", None)


def _settings(
    operator: str, config: EvalConfig, plan: Evaluation, models: dict[str, StageModel]
) -> dict[str, Any]:
    """Give all that the numbers depend on: a folder goes on only with the same."""
    return {
        "protocol": operator,
        "stack": config.stack,
        "weights": _weights(config),
        "preset": config.chosen_preset,
        "methods": list(plan.methods),
        "also": config.also,
        "seeds": list(config.seeds),
        "limit": config.limit,
        "guidance": config.guidance,
        "steps": config.steps,
        "sampler": config.sampler,
        "renderer": config.renderer,
        "render_steps": config.render_steps,
        "operators": list(config.operators),
        "requests": len(plan.requests),
        "pictures": len(plan.rows),
        "words": _words(plan),
        "metrics": [metric.name for metric in plan.metrics],
        "models": {stage: asdict(model) for stage, model in models.items()},
    }


def _weights(config: EvalConfig) -> dict[str, str]:
    """Digest what makes the pictures: a stack of the same name may have been trained further."""
    from pops.data.cache.fingerprints import stack_digests
    from pops.stacks.stack import open_stack

    # On the CPU: where a cluster makes the pictures, this machine may have nothing else.
    return stack_digests(open_stack(config.stack, device="cpu", operator_folders=config.operators))


def _words(plan: Evaluation) -> dict[str, list[str]]:
    """List the distinct words of each slot, and the texts."""
    found: dict[str, dict[str, None]] = {}
    for request in plan.requests:
        for slot, one in request.inputs.items():
            found.setdefault(slot, {})[one.word] = None
        if request.text is not None:
            found.setdefault("text", {})[request.text] = None
    return {slot: list(words) for slot, words in found.items()}


def _what(
    operator: str, config: EvalConfig, plan: Evaluation, models: dict[str, StageModel]
) -> list[str]:
    """Describe a run in words, without running it."""
    each = len(plan.rows) // len(plan.methods)
    shard = Shard.parse(config.shard)
    return [
        f"{each:,} pictures of each method: {len(plan.requests):,} requests of {operator}, "
        f"{len(config.seeds)} seeds, on {config.stack}",
        f"{len(plan.rows):,} pictures in all, {len(plan.indices(shard)):,} of this machine, into "
        f"{config.out}",
        f"  methods: {', '.join(plan.methods)}",
        *(f"  {stage}: {model}, {model.licence}" for stage, model in models.items()),
        *(f"  {metric.name}: {metric.title} ({_arrow(metric)})" for metric in plan.metrics),
    ]


def _arrow(metric: Metric) -> str:
    return f"{metric.better} is better"

"""Runs a workflow as ComfyUI's server does: links, lists, and no gradients."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch


class Runner:
    """Runs workflows in the format of ComfyUI's API: nodes by id, with `class_type` and `inputs`.

    A node that is given a list runs once for each of its items, shorter ones repeating their last,
    and all in inference mode.
    """

    def __init__(self, nodes: Mapping[str, Any]) -> None:
        self.nodes = nodes

    def __call__(self, prompt: Mapping[str, Any], wanted: str) -> list[list[Any]]:
        """Run what node `wanted` needs, and give its outputs: for each the list of its values."""
        with torch.inference_mode():
            return self._outputs(prompt, wanted, {})

    def one(self, class_type: str, **inputs: Any) -> Any:
        """Run one node on values, its fields as they are at first, and give its only output."""
        node = self.nodes[class_type]
        kinds = node.INPUT_TYPES()
        told = {**kinds.get("required", {}), **kinds.get("optional", {})}
        fields = {name: one[1]["default"] for name, one in told.items() if "default" in one[1]}
        with torch.inference_mode():
            (values,) = self._call(node, [{**fields, **inputs}])
        (value,) = values
        return value

    def _outputs(
        self, prompt: Mapping[str, Any], at: str, done: dict[str, list[list[Any]]]
    ) -> list[list[Any]]:
        if at not in done:
            node, given = self.nodes[prompt[at]["class_type"]], {}
            for name, value in prompt[at]["inputs"].items():
                linked = isinstance(value, list)
                given[name] = self._outputs(prompt, value[0], done)[value[1]] if linked else [value]
            runs = max(map(len, given.values()), default=1)
            done[at] = self._call(
                node,
                [{n: v[min(i, len(v) - 1)] for n, v in given.items()} for i in range(runs)],
            )
        return done[at]

    def _call(self, node: Any, calls: list[dict[str, Any]]) -> list[list[Any]]:
        if hasattr(node, "define_schema"):
            results = [node.EXECUTE_NORMALIZED(**call).result or () for call in calls]
        else:
            results = [getattr(node(), node.FUNCTION)(**call) for call in calls]
        lists = getattr(node, "OUTPUT_IS_LIST", None) or [False] * len(results[0])
        return [
            [one for result in results for one in (result[at] if listed else [result[at]])]
            for at, listed in enumerate(lists[: len(results[0])])
        ]

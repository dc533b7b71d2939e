"""Turns workflows, as ComfyUI's page saves them, into prompts, as its server takes them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["faults", "is_widget", "to_prompt"]

WIDGETS = ("INT", "FLOAT", "STRING", "BOOLEAN", "COMBO")
ONLY_SHOWN = ("MarkdownNote", "Note")


def is_widget(kind: Any) -> bool:
    """Tell whether an input of a type is a field of the node; a list is a choice of old nodes."""
    return isinstance(kind, list) or kind in WIDGETS


def inputs_of(info: Mapping[str, Any]) -> dict[str, Any]:
    """The inputs of a node in the order of its schema, by name: (type, what is told of it)."""
    given = info["input"]
    found = {**given.get("required", {}), **given.get("optional", {})}
    return {name: (one[0], one[1] if len(one) > 1 else {}) for name, one in found.items()}


def to_prompt(
    workflow: Mapping[str, Any], infos: Mapping[str, Mapping[str, Any]]
) -> dict[str, dict[str, Any]]:
    """The nodes by id with the class and the inputs of each."""
    links = {link[0]: [str(link[1]), link[2]] for link in workflow["links"]}
    prompt = {}
    for node in workflow["nodes"]:
        if node["type"] in ONLY_SHOWN:
            continue
        given: dict[str, Any] = {
            one["name"]: links[one["link"]] for one in node["inputs"] if one["link"] is not None
        }
        given |= widget_values(node, infos[node["type"]])
        prompt[str(node["id"])] = {"class_type": node["type"], "inputs": given}
    return prompt


def widget_values(node: Mapping[str, Any], info: Mapping[str, Any]) -> dict[str, Any]:
    """The values of the fields of a node by name; ValueError where they are not as many."""
    values = list(node["widgets_values"])
    given = {}
    for name, (kind, told) in inputs_of(info).items():
        if not is_widget(kind):
            continue
        if not values:
            raise ValueError(f"{node['type']} has no value for {name}")
        given[name] = values.pop(0)
        if told.get("control_after_generate") or name in ("seed", "noise_seed"):
            values.pop(0)
        if told.get("image_upload"):
            values.pop(0)
    if values:
        raise ValueError(f"{node['type']} has values too many: {values}")
    return given


def faults(workflow: Mapping[str, Any], infos: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """All that does not fit: unknown sockets, types, and values out of their range or choice."""
    found = []
    nodes = {node["id"]: node for node in workflow["nodes"]}
    for number, start, out, end, slot, kind in workflow["links"]:
        output, taker = nodes[start]["outputs"][out], nodes[end]["inputs"][slot]
        if number not in output["links"] or taker["link"] != number:
            found.append(f"link {number} is not told of at both ends")
        if output["type"] != kind or not set(kind.split(",")) & set(taker["type"].split(",")):
            found.append(f"link {number}: {output['type']} does not fit {taker['type']}")
    for node in nodes.values():
        if node["type"] in infos:
            found += _faults_of(node, infos[node["type"]])
    return found


def _faults_of(node: Mapping[str, Any], info: Mapping[str, Any]) -> list[str]:
    found, kind = [], node["type"]
    known = inputs_of(info)
    sockets = {name: one[0] for name, one in known.items() if not is_widget(one[0])}
    if {one["name"]: one["type"] for one in node["inputs"]} != sockets:
        found.append(f"{kind} has other sockets: {list(sockets)}")
    if [one["type"] for one in node["outputs"]] != list(info["output"]):
        found.append(f"{kind} has other outputs: {info['output']}")
    for one in node["inputs"]:
        if one["link"] is None and one["name"] in info["input"].get("required", {}):
            found.append(f"{kind}: nothing is connected to {one['name']}")
    for name, value in widget_values(node, info).items():
        one, told = known[name]
        options = one if isinstance(one, list) else told.get("options")
        if options is not None and value not in options:
            found.append(f"{kind}: {name} is {value!r}, none of {options}")
        if "min" in told and not told["min"] <= value <= told["max"]:
            found.append(f"{kind}: {name} is {value}, out of its range")
    return found

"""Builds a folder as ``kubectl kustomize`` does, with the features that the manifests use.

Other keys of a kustomization are refused, so that nothing is ignored silently.
"""

from __future__ import annotations

from copy import deepcopy
from typing import TYPE_CHECKING, Any

import yaml

if TYPE_CHECKING:
    from pathlib import Path

Resource = dict[str, Any]
CLUSTER_WIDE = ("Namespace", "ClusterRole", "ClusterRoleBinding")
_HEAD = {"apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization"}


class KustomizeError(Exception):
    """A kustomization that cannot be built, or that uses a feature unknown to this builder."""


def build(folder: Path) -> list[Resource]:
    """Returns all resources of a kustomization, in the order of its files."""
    plan = read_one(folder / "kustomization.yaml")
    for key, value in _HEAD.items():
        if plan.pop(key, None) != value:
            raise KustomizeError(f"{folder}: {key} has to be {value}")
    resources: list[Resource] = []
    for name in plan.pop("resources", []):
        resources += _resources(folder / name)
    options = plan.pop("generatorOptions", {})
    for generator in plan.pop("configMapGenerator", []):
        resources.append(_config_map(folder, generator, options))
    for patch in plan.pop("patches", []):
        _patch(resources, patch["target"], yaml.safe_load((folder / patch["path"]).read_text()))
    for image in plan.pop("images", []):
        _set_image(resources, image)
    namespace = plan.pop("namespace", None)
    for resource in resources:
        if namespace and resource["kind"] not in CLUSTER_WIDE:
            resource["metadata"]["namespace"] = namespace
    if plan:
        raise KustomizeError(f"{folder}: this builder does not know {sorted(plan)}")
    return resources


def _resources(path: Path) -> list[Resource]:
    if path.is_dir():
        return build(path)
    if not path.is_file():
        raise KustomizeError(f"{path}: there is no such resource")
    return [one for one in yaml.safe_load_all(path.read_text()) if one]


def read_one(path: Path) -> Any:
    """Reads the one document of a YAML file."""
    return yaml.safe_load(path.read_text())


def _config_map(folder: Path, generator: Resource, options: Resource) -> Resource:
    if set(generator) != {"name", "files"} or options.get("disableNameSuffixHash") is not True:
        raise KustomizeError(f"{folder}: a generator of another kind: {generator} {options}")
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": generator["name"], "labels": dict(options["labels"])},
        "data": {name: (folder / name).read_text() for name in generator["files"]},
    }


def _patch(resources: list[Resource], target: Resource, operations: list[Resource]) -> None:
    found = [
        one
        for one in resources
        if one["kind"] == target["kind"] and one["metadata"]["name"] == target["name"]
    ]
    if len(found) != 1:
        raise KustomizeError(f"{len(found)} resources are {target}")
    for operation in operations:
        if operation["op"] == "move":
            value = _remove(found[0], operation["from"])
        else:
            value = deepcopy(operation.get("value"))
        if operation["op"] in {"remove", "replace"}:
            _remove(found[0], operation["path"])
        if operation["op"] in {"add", "replace", "move"}:
            _add(found[0], operation["path"], value)


def _parent(resource: Any, path: str) -> tuple[Any, Any]:
    *parents, last = [part.replace("~1", "/").replace("~0", "~") for part in path.split("/")[1:]]
    for part in parents:
        resource = resource[int(part)] if isinstance(resource, list) else resource[part]
    if isinstance(resource, list) and last != "-":
        return resource, int(last)
    return resource, last


def _remove(resource: Resource, path: str) -> Any:
    parent, key = _parent(resource, path)
    return parent.pop(key)  # KeyError, IndexError: there is nothing to remove


def _add(resource: Resource, path: str, value: Any) -> None:
    parent, key = _parent(resource, path)
    if not isinstance(parent, list):
        parent[key] = value
    elif key == "-":
        parent.append(value)
    else:
        parent.insert(key, value)


def _set_image(value: Any, image: Resource) -> None:
    if isinstance(value, list):
        for one in value:
            _set_image(one, image)
    elif isinstance(value, dict):
        if value.get("image") == image["name"]:
            value["image"] = f"{image['newName']}:{image['newTag']}"
        for one in value.values():
            _set_image(one, image)

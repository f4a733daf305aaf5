"""The manifests are valid, keep the strictest pod security rules, and fit together."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from routoo.config.checks import refuse_exposure
from routoo.config.loading import load_settings
from support.peers.kustomize import KustomizeError, Resource, build

FOLDER = Path(__file__).resolve().parents[3] / "deploy" / "kubernetes"
OVERLAYS = sorted(path.name for path in (FOLDER / "overlays").iterdir())
KUBERNETES = ("1.29", "1.32", "1.36")


@pytest.fixture(params=OVERLAYS)
def overlay(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def resources(overlay: str) -> list[Resource]:
    return build(FOLDER / "overlays" / overlay)


def the(kind: str, resources: list[Resource]) -> Any:
    (found,) = [one for one in resources if one["kind"] == kind]
    return found


def pod_of(resources: list[Resource]) -> Any:
    return the("Deployment", resources)["spec"]["template"]["spec"]


def containers(resources: list[Resource]) -> list[Any]:
    pod = pod_of(resources)
    return [*pod.get("initContainers", []), *pod["containers"]]


def routoo_in(resources: list[Resource]) -> Any:
    (found,) = [one for one in containers(resources) if one["name"] == "routoo"]
    return found


@pytest.mark.parametrize("version", KUBERNETES)
def test_the_schemas_take_them(resources: list[Resource], version: str) -> None:
    assert resources
    for resource in resources:
        kubernetes_validate.validate(resource, version, strict=True)


def test_the_schemas_would_refuse_a_misspelt_field(resources: list[Resource]) -> None:
    pod_of(resources)["containers"][0]["readynessProbe"] = {}
    with pytest.raises(kubernetes_validate.ValidationError, match="readynessProbe"):
        kubernetes_validate.validate(the("Deployment", resources), KUBERNETES[-1], strict=True)


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not on the PATH")
def test_kubectl_builds_the_same(overlay: str, resources: list[Resource]) -> None:
    built = subprocess.run(
        ["kubectl", "kustomize", str(FOLDER / "overlays" / overlay)],  # noqa: S607
        capture_output=True,
        check=True,
        timeout=60,
    )
    theirs = [one for one in yaml.safe_load_all(built.stdout) if one]

    def name(one: Resource) -> tuple[str, str]:
        return one["kind"], one["metadata"]["name"]

    assert sorted(theirs, key=name) == sorted(resources, key=name)


def test_what_the_builder_does_not_know_is_refused(tmp_path: Path) -> None:
    plan = {"apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization"}
    for more in ({"namePrefix": "x-"}, {"resources": ["gone.yaml"]}):
        (tmp_path / "kustomization.yaml").write_text(yaml.safe_dump(plan | more))
        with pytest.raises(KustomizeError):
            build(tmp_path)


def test_pods_keep_to_the_restricted_standard(resources: list[Resource]) -> None:
    pod = pod_of(resources)
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] > 0
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["automountServiceAccountToken"] is False
    assert not {"hostNetwork", "hostPID", "hostIPC"} & set(pod)
    assert all(set(one) & {"configMap", "secret", "emptyDir"} for one in pod["volumes"])
    for one in containers(resources):
        assert one["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert set(one["resources"]) == {"requests", "limits"}
        for amounts in one["resources"].values():
            assert set(amounts) == {"cpu", "memory"}


def test_images_are_named_with_a_version(resources: list[Resource]) -> None:
    for one in containers(resources):
        _, _, tag = one["image"].partition(":")
        assert tag not in {"", "latest"}


def test_every_selector_finds_the_pods(resources: list[Resource]) -> None:
    labels = the("Deployment", resources)["spec"]["template"]["metadata"]["labels"]
    selectors = [
        resource["spec"][key].get("matchLabels", resource["spec"][key])
        for resource in resources
        for key in ("selector", "podSelector")
        if key in resource.get("spec", {})
    ]
    assert len(selectors) >= 2
    for selector in selectors:
        assert selector
        assert selector.items() <= labels.items()


def test_ports_go_by_names_that_a_container_has(resources: list[Resource]) -> None:
    named = {port["name"] for one in containers(resources) for port in one["ports"]}
    wanted = {
        port["port"]
        for rule in the("NetworkPolicy", resources)["spec"]["ingress"]
        for port in rule["ports"]
    }
    for resource in resources:
        if resource["kind"] == "Service":
            wanted |= {port["targetPort"] for port in resource["spec"]["ports"]}
    assert wanted <= named


def test_the_autoscaler_scales_what_there_is() -> None:
    resources = build(FOLDER / "overlays" / "standalone")
    target = the("HorizontalPodAutoscaler", resources)["spec"]["scaleTargetRef"]
    deployment = the("Deployment", resources)
    assert target == {
        "apiVersion": deployment["apiVersion"],
        "kind": "Deployment",
        "name": deployment["metadata"]["name"],
    }
    assert "replicas" not in deployment["spec"], "or each apply would undo the autoscaler"


def test_the_sidecar_starts_first_and_takes_no_calls_from_outside() -> None:
    resources = build(FOLDER / "overlays" / "sidecar")
    (sidecar,) = pod_of(resources)["initContainers"]
    assert (sidecar["name"], sidecar["restartPolicy"]) == ("routoo", "Always")
    assert [port["name"] for port in sidecar["ports"]] == ["metrics"]


def test_the_settings_are_ones_that_the_service_takes(
    overlay: str, resources: list[Resource]
) -> None:
    settings = load_settings(FOLDER / "overlays" / overlay / "routoo.yaml")
    container = routoo_in(resources)
    mounts = [Path(mount["mountPath"]) for mount in container["volumeMounts"]]
    (config,) = [Path(one) for one in container["args"] if one.endswith(".yaml")]
    assert config.parent in mounts
    assert config.name in the("ConfigMap", resources)["data"]
    (address,) = [one["value"] for one in container["env"] if one["name"] == "ROUTOO_ADDRESS"]
    assert address in [listener.address for listener in settings.listeners]
    assert Path(address.removeprefix("unix:")).parent in mounts
    ports = {one["name"]: one["containerPort"] for one in container["ports"]}
    assert settings.metrics.listen.endswith(f":{ports['metrics']}")
    refuse_exposure(settings)
    assert not settings.security.allow_insecure_exposure
    if overlay == "standalone":
        tls = settings.security.tls
        assert tls is not None
        assert settings.security.tokens is not None
        for file in (tls.certificate, tls.key, settings.security.tokens):
            assert file.parent in mounts
        assert settings.listen.endswith(f":{ports['grpc']}")
    grace_s = pod_of(resources)["terminationGracePeriodSeconds"]
    stop_s = container.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
    assert stop_s + settings.shutdown_grace_s < grace_s


@pytest.mark.parametrize("version", KUBERNETES)
def test_the_autopilot_is_valid_and_confined(version: str) -> None:
    (job,) = build(FOLDER / "autopilot")
    kubernetes_validate.validate(job, version, strict=True)
    assert job["spec"]["concurrencyPolicy"] == "Forbid"
    pod = job["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    assert pod["securityContext"]["runAsNonRoot"]
    assert pod["securityContext"]["seccompProfile"]["type"] == "RuntimeDefault"
    (container,) = pod["containers"]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }

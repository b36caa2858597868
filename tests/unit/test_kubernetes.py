"""The Kubernetes examples, against the schemas of Kubernetes itself."""

from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
from ruamel.yaml import YAML
from support import BUNDLE

from imageporter.config.settings import VARIABLES

SECRETS = {name for name, variable in VARIABLES.items() if variable.is_secret}
EXAMPLES = sorted((BUNDLE / "examples" / "kubernetes").glob("*.yaml"))


def documents(path: Path) -> list[Any]:
    """The documents of a file, without the anchors."""
    return list(YAML(typ="safe", pure=True).load_all(path.read_text()))


def pods(path: Path) -> list[Any]:
    """The pod specifications in a file."""
    found = [document["spec"] for document in documents(path) if document["kind"] in {"CronJob", "Deployment"}]
    return [spec.get("jobTemplate", {"spec": spec})["spec"]["template"]["spec"] for spec in found]


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_kubernetes_accepts_them(path: Path) -> None:
    for document in documents(path):
        kubernetes_validate.validate(document, "1.36", strict=True)
        with pytest.raises(kubernetes_validate.ValidationError):
            kubernetes_validate.validate(document | {"spce": {}}, "1.36", strict=True)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_they_are_strict_and_consistent(path: Path) -> None:
    for pod in pods(path):
        assert_strict(pod)


def assert_strict(pod: Any) -> None:
    assert pod["securityContext"]["runAsNonRoot"] is True
    volumes = {volume["name"] for volume in pod["volumes"]}
    for container in pod["containers"]:
        context = container["securityContext"]
        assert (context["readOnlyRootFilesystem"], context["allowPrivilegeEscalation"]) == (True, False)
        assert context["capabilities"] == {"drop": ["ALL"]}
        assert {"requests", "limits"} <= container["resources"].keys()
        mounts = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
        assert {"/data", "/tmp"} <= mounts.keys()  # writable, although the root is read-only
        assert set(mounts.values()) <= volumes
        names = {variable["name"] for variable in container["env"]}
        assert names - VARIABLES.keys() - {f"{name}_FILE" for name in SECRETS} <= {"NAS_PASSWORD_FILE"}
        assert not names & SECRETS  # they come from files


def test_there_is_a_cronjob_and_a_deployment() -> None:
    kinds = [document["kind"] for path in EXAMPLES for document in documents(path)]
    job = ["PersistentVolumeClaim", "CronJob", "CronJob"]
    assert kinds == ["CronJob", "PersistentVolumeClaim", "Deployment", "Service", *job]


def test_the_indexed_job_has_as_many_pods_as_shards() -> None:
    _, job, merge = documents(BUNDLE / "examples" / "kubernetes" / "indexed-job.yaml")
    spec = job["spec"]["jobTemplate"]["spec"]
    (container,) = spec["template"]["spec"]["containers"]
    shards = next(variable["value"] for variable in container["env"] if variable["name"] == "SHARDS")
    assert spec["completionMode"] == "Indexed"
    assert int(shards) == spec["completions"] == spec["maxFailedIndexes"]
    assert job["spec"]["schedule"] < merge["spec"]["schedule"]

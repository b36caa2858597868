"""What registries send when something was pushed -> the repository and tag of each push.

Each sender is a function of the decoded JSON. It gives the pushes of tags and leaves out all other events; it raises
LookupError, TypeError, ValueError or AttributeError where the JSON is not what that sender sends.
The payloads are those of the senders' documentation; tests/payloads holds one of each.
"""

import hashlib
import hmac
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from typing import Any

from imageporter.model.reference import DOCKER_HUB, is_tag

# A repository with its registry's host (None: the sender does not say), and a tag.
Push = tuple[str | None, str, str]


def distribution(payload: Any, _: Mapping[str, str]) -> Iterator[Push]:
    """Docker's registry (distribution) and those built on it: notifications, in envelopes of either version.

    https://distribution.github.io/distribution/about/notifications/
    """
    for event in payload["events"]:
        # One that is odd must not hold up the others: the whole envelope would be sent again, for ever.
        with suppress(LookupError, TypeError, AttributeError):
            target = event.get("target") or {}
            if event.get("action") == "push" and target.get("tag"):
                yield (event.get("request") or {}).get("host") or None, target["repository"], target["tag"]


def dockerhub(payload: Any, _: Mapping[str, str]) -> Iterator[Push]:
    """Docker Hub. https://docs.docker.com/docker-hub/repos/manage/webhooks/"""
    if "push_data" in payload:
        yield DOCKER_HUB, payload["repository"]["repo_name"], payload["push_data"]["tag"]


def harbor(payload: Any, _: Mapping[str, str]) -> Iterator[Push]:
    """Harbor: its own format (that of 1.x too) and CloudEvents.

    https://goharbor.io/docs/main/working-with-projects/project-configuration/configure-webhooks/
    """
    if payload["type"] in {"PUSH_ARTIFACT", "pushImage", "harbor.artifact.pushed"}:
        data = payload["data"] if "specversion" in payload else payload["event_data"]
        for resource in data["resources"]:
            # What was pushed by digest has the digest for a tag.
            if is_tag(resource.get("tag") or ""):
                host, _, path = resource["resource_url"].removesuffix(f":{resource['tag']}").partition("/")
                yield host, path, resource["tag"]


def quay(payload: Any, _: Mapping[str, str]) -> Iterator[Push]:
    """Quay: "Push to Repository". https://docs.quay.io/guides/notifications.html

    Its first versions sent the tags as an object.
    """
    for tag in payload.get("updated_tags") or ():
        host, _, path = payload["docker_url"].partition("/")
        yield host, path, tag


def github(payload: Any, headers: Mapping[str, str]) -> Iterator[Push]:
    """GitHub's packages: the events `package` and `registry_package`.

    https://docs.github.com/en/webhooks/webhook-events-and-payloads#registry_package
    """
    event = headers.get("x-github-event", "registry_package")
    if event not in {"package", "registry_package"} or payload.get("action") not in {"published", "updated"}:
        return
    package = payload[event]
    if package["package_type"].lower() != "container":
        return
    tag = ((package["package_version"].get("container_metadata") or {}).get("tag") or {}).get("name")
    if tag:
        yield "ghcr.io", f"{package['namespace']}/{package['name']}".lower(), tag


def acr(payload: Any, _: Mapping[str, str]) -> Iterator[Push]:
    """Aliyun's Container Registry. https://help.aliyun.com/zh/acr/user-guide/manage-triggers"""
    if "push_data" in payload:
        repository = payload["repository"]
        yield f"registry.{repository['region']}.aliyuncs.com", repository["repo_full_name"], payload["push_data"]["tag"]


SENDERS: Mapping[str, Callable[[Any, Mapping[str, str]], Iterator[Push]]] = {
    "distribution": distribution,
    "dockerhub": dockerhub,
    "harbor": harbor,
    "quay": quay,
    "github": github,
    "acr": acr,
}


def signed(body: bytes, headers: Mapping[str, str], secret: str) -> bool:
    """Whether GitHub has signed `body` with `secret` (HMAC-SHA-256 in `X-Hub-Signature-256`)."""
    wanted = "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    return hmac.compare_digest(wanted.encode(), headers.get("x-hub-signature-256", "").encode())

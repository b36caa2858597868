"""The payloads of webhooks, parsed into pushes.

There is one function per sender. It yields the pushes of tags in the decoded JSON and leaves out all other events. It raises
one of UNEXPECTED_PAYLOAD if the JSON is not what that sender documents. tests/payloads holds an example of each.
"""

import hashlib
import hmac
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from typing import Any

from imageporter.model.reference import DOCKER_HUB, is_tag

# The registry's host (None if the sender does not name it), the repository and the tag.
Push = tuple[str | None, str, str]
MAX_EVENTS = 1000  # of one envelope: a registry sends some, and each one costs time on the event loop
UNEXPECTED_PAYLOAD = (LookupError, TypeError, ValueError, AttributeError)


def distribution(payload: Any, _: Mapping[str, str]) -> Iterator[Push]:
    """Parse a notification of Docker's registry (distribution), or of one built on it; either version of the envelope.

    https://distribution.github.io/distribution/about/notifications/

    Azure sends such events without an envelope.
    https://learn.microsoft.com/azure/container-registry/container-registry-webhook-reference
    """
    events = payload.get("events", [payload] if "action" in payload else None)
    if len(events) > MAX_EVENTS:
        raise ValueError(f"more than {MAX_EVENTS} events")
    for event in events:
        # An invalid event must not stop the others, because the whole envelope would be sent again, for ever.
        with suppress(LookupError, TypeError, AttributeError):
            target = event.get("target") or {}
            if event.get("action") == "push" and target.get("tag"):
                yield (event.get("request") or {}).get("host") or None, target["repository"], target["tag"]


def dockerhub(payload: Any, _: Mapping[str, str]) -> Iterator[Push]:
    """Parse a webhook of Docker Hub. https://docs.docker.com/docker-hub/repos/manage/webhooks/"""
    if "push_data" in payload:
        yield DOCKER_HUB, payload["repository"]["repo_name"], payload["push_data"]["tag"]


def harbor(payload: Any, _: Mapping[str, str]) -> Iterator[Push]:
    """Parse a webhook of Harbor, in its own format (that of 1.x, too) or as CloudEvents.

    https://goharbor.io/docs/main/working-with-projects/project-configuration/configure-webhooks/
    """
    if payload["type"] in {"PUSH_ARTIFACT", "pushImage", "harbor.artifact.pushed"}:
        data = payload["data"] if "specversion" in payload else payload["event_data"]
        for resource in data["resources"]:
            # A push by digest has the digest as its tag.
            if is_tag(resource.get("tag") or ""):
                host, _, path = resource["resource_url"].removesuffix(f":{resource['tag']}").partition("/")
                yield host, path, resource["tag"]


def quay(payload: Any, _: Mapping[str, str]) -> Iterator[Push]:
    """Parse Quay's "Push to Repository". https://docs.quay.io/guides/notifications.html

    Quay's first versions sent the tags as an object.
    """
    for tag in payload.get("updated_tags") or ():
        host, _, path = payload["docker_url"].partition("/")
        yield host, path, tag


def github(payload: Any, headers: Mapping[str, str]) -> Iterator[Push]:
    """Parse the events `package` and `registry_package` of GitHub.

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
    """Parse a webhook of Aliyun's Container Registry. https://help.aliyun.com/zh/acr/user-guide/manage-triggers"""
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


def is_signed(body: bytes, headers: Mapping[str, str], secret: str) -> bool:
    """Return whether `body` is signed with `secret` as GitHub does it (HMAC-SHA-256 in `X-Hub-Signature-256`)."""
    expected = "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    return hmac.compare_digest(expected.encode(), headers.get("x-hub-signature-256", "").encode())

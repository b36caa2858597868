"""The payload of each sender, as its documentation shows it (tests/payloads)."""

import hashlib
import hmac
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imageporter.hook.webhooks import SENDERS, UNEXPECTED_PAYLOAD, Push, is_signed

PAYLOADS = Path(__file__).parents[1] / "payloads"
DEBIAN: Push = ("hub.harbor.com", "test-webhook/debian", "latest")
HELLO: Push = ("ghcr.io", "codertocat/hello_docker", "latest")
PUSHES: dict[str, list[Push]] = {
    "distribution-azure": [("myregistry.azurecr.io", "hello-world", "v1")],
    "distribution-v1": [("registry.example.com:5000", "library/test", "latest")],
    "distribution-v2": [("registry.example.com:5000", "library/test", "v2")],
    "dockerhub": [("docker.io", "svendowideit/testhook", "latest")],
    "harbor": [DEBIAN],
    "harbor-1": [DEBIAN],
    "harbor-cloudevents": [DEBIAN],
    "harbor-untagged": [],
    "harbor-deleted": [],
    "quay": [("quay.io", "dgangaia/test", "latest")],
    "quay-first": [("quay.io", "devtable/ubuntu", "latest")],
    "quay-build": [],
    "github-registry_package": [HELLO],
    "github-package": [HELLO],
    "github-npm": [],
    "github-untagged": [],
    "github-ping": [],
    "acr": [("registry.cn-hangzhou.aliyuncs.com", "namespace/repotest", "latest")],
}


def test_every_payload_is_tested() -> None:
    assert {path.stem for path in PAYLOADS.glob("*.json")} == set(PUSHES)
    assert {name.partition("-")[0] for name in PUSHES} == set(SENDERS)


@pytest.mark.parametrize("name", PUSHES)
def test_the_pushes_of_a_payload(name: str) -> None:
    payload = json.loads((PAYLOADS / f"{name}.json").read_text())
    sender, _, event = name.partition("-")
    headers = {"x-github-event": "registry_package" if event in {"npm", "untagged"} else event} if sender == "github" else {}
    assert list(SENDERS[sender](payload, headers)) == PUSHES[name]


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["events", "action", "target", "repository", "push_data", "type", "event_data", "resources", "tag"]
            )
            | st.sampled_from(["updated_tags", "docker_url", "registry_package", "package_type", "package_version", "data"]),
            inner | st.sampled_from(["push", "PUSH_ARTIFACT", "published", "container"]),
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(payload=ANYTHING, sender=st.sampled_from(sorted(SENDERS)))
def test_any_other_payload_raises_one_of_the_documented_errors(payload: object, sender: str) -> None:
    try:
        pushes = list(SENDERS[sender](payload, {}))
    except UNEXPECTED_PAYLOAD:
        return
    assert all(len(push) == 3 for push in pushes)


@pytest.mark.parametrize("payload", [["action"], "action", {}, {"events": None}, {"events": 5}, None])
def test_what_is_no_notification_of_distribution(payload: object) -> None:
    with pytest.raises(UNEXPECTED_PAYLOAD):
        list(SENDERS["distribution"](payload, {}))


def test_an_envelope_with_an_action_of_its_own() -> None:
    event = {"action": "push", "target": {"repository": "app", "tag": "1"}, "request": {"host": "r.example.com"}}
    assert list(SENDERS["distribution"]({"action": "other", "events": [event]}, {})) == [("r.example.com", "app", "1")]


def test_githubs_signature() -> None:
    """The secret, payload and signature of GitHub's page "Validating webhook deliveries"."""
    secret, body = "It's a Secret to Everybody", b"Hello, World!"
    signature = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
    assert signature.endswith(hmac.new(secret.encode(), body, hashlib.sha256).hexdigest())
    assert is_signed(body, {"x-hub-signature-256": signature}, secret)
    assert not is_signed(body + b"!", {"x-hub-signature-256": signature}, secret)
    assert not is_signed(body, {"x-hub-signature-256": signature}, secret + "!")
    assert not is_signed(body, {}, secret)
    assert not is_signed(body, {"x-hub-signature-256": "sha256=\xff"}, secret)

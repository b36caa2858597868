"""`sync.py --list-from`: rows of an images file for the images that other programs' files name."""

import json
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest
from ruamel.yaml import YAML
from support import BUNDLE, PATIENCE, Registry, User

from imageporter.config.files import Location
from imageporter.config.images_file import validate_images
from imageporter.system.errors import Problems

DIGEST = f"sha256:{'a' * 64}"
TARGET = ("--target", "r.example.com/mirror/")
BY_HAND = "write the image by hand"
ACCOUNTS = "accounts and certificates are not converted; write the account into the accounts file"


class Listing(NamedTuple):
    code: int
    output: str
    errors: list[str]


def list_from(user: User, name: str, *flags: str, stdin: str | None = None) -> Listing:
    """Run `sync.py --list-from`, without crane and in an empty environment; the rows are valid if there are any."""
    done = subprocess.run(
        [sys.executable, str(BUNDLE / "sync.py"), "--list-from", name, *flags],
        cwd=user.folder,
        env={"PATH": "", "HOME": str(user.home)},
        capture_output=True,
        text=True,
        input=stdin,
        timeout=PATIENCE,
        check=False,
    )
    problems = Problems()
    if done.stdout:
        validate_images(YAML(typ="safe", pure=True).load(done.stdout), Location(Path("images.yaml")), problems)
    assert list(problems) == []
    assert not (user.folder / "data").exists()
    return Listing(done.returncode, done.stdout, done.stderr.splitlines())


def sources(listing: Listing) -> list[str]:
    return [row["source"] for row in YAML(typ="safe", pure=True).load(listing.output)]


COMPOSE = f"""\
x-base: &base
  restart: always
services:
  web:
    <<: *base
    image: nginx:1.27
    ports: !reset []
  db:
    image: "postgres"
  cache:
    image: docker.io/library/nginx:1.27
  pinned:
    image: quay.io/prometheus/node-exporter:v1.8.2@{DIGEST}
  digest:
    image: ghcr.io/acme/tool@{DIGEST}
  twice:
    image: acme/overridden:1
    image: acme/last:1
  base:
    build: .
"""


def test_compose(user: User) -> None:
    """An image that is written in two ways is listed once; a tag with a digest is kept as the target's tag."""
    user.write("docker-compose.yml", COMPOSE)
    expected = f"""\
- source: nginx:1.27
  target: r.example.com/mirror/
- source: postgres
  target: r.example.com/mirror/
- source: quay.io/prometheus/node-exporter:v1.8.2@{DIGEST}
  target: r.example.com/mirror/prometheus/node-exporter:v1.8.2
- source: ghcr.io/acme/tool@{DIGEST}
  target: r.example.com/mirror/
- source: acme/last:1
  target: r.example.com/mirror/
"""
    assert list_from(user, "docker-compose.yml", *TARGET) == Listing(0, expected, [])
    assert list_from(user, "-", *TARGET, stdin=COMPOSE) == Listing(0, expected, [])


def test_what_compose_does_not_say_is_reported(user: User) -> None:
    compose = """\
include: [other.yaml]
services:
  app: {build: ., image: acme/app:dev}
  my-var: {image: "${IMAGE}:latest"}
  default: {image: "nginx:${TAG:-1.27}"}
  web: {image: nginx:1.27}
  same: {image: quay.io/library/nginx:1.27}
  wrong: {image: Acme/App:1}
  odd: {image: "acme/app:a,b"}
  child: {extends: {file: common.yaml, service: base}}
"""
    listing = list_from(user, "-", *TARGET, stdin=compose)
    assert listing.code == 1
    assert listing.output == "- source: nginx:1.27\n  target: r.example.com/mirror/\n"
    assert listing.errors == [
        "- include: other files are not read; list their images as well",
        f"- services.app.image: 'acme/app:dev' is built by this file; if a registry has it, {BY_HAND}",
        f"""- services["my-var"].image: '${{IMAGE}}:latest' has a variable; {BY_HAND}""",
        f"- services.default.image: 'nginx:${{TAG:-1.27}}' has a variable; {BY_HAND}",
        "- services.same.image: r.example.com/mirror/library/nginx:1.27 is the target of docker.io/library/nginx:1.27 at "
        "services.web.image already; write a row with another target by hand",
        "- services.wrong.image: 'Acme' has neither a dot nor a port; write its whole name (docker.io for Docker Hub), or "
        "Acme:443",
        "- services.odd.image: 'acme/app:a,b' has a tag that is not 1 to 128 letters, digits, '_', '.' or '-'",
        "- services.child.extends: other files are not read; list their images as well",
    ]


def test_a_prefix_with_the_registry_keeps_equal_names_apart(user: User) -> None:
    compose = f"""\
services:
  web: {{image: nginx:1.27}}
  same: {{image: quay.io/library/nginx:1.27@{DIGEST}}}
"""
    listing = list_from(user, "-", "--target", "r.example.com/{registry}/", stdin=compose)
    assert listing == Listing(
        0,
        f"""\
- source: nginx:1.27
  target: r.example.com/{{registry}}/
- source: quay.io/library/nginx:1.27@{DIGEST}
  target: r.example.com/quay.io/library/nginx:1.27
""",
        [],
    )


def test_the_rows_of_a_compose_file_are_mirrored(user: User, source: Registry, target: Registry) -> None:
    digests = {name: source.push(name, name) for name in ("library/nginx:1.27", "acme/api:latest", "acme/pinned:1")}
    pinned = digests["acme/pinned:1"]
    user.write(
        "compose.yaml",
        f"""\
services:
  web: {{image: "{source}/library/nginx:1.27"}}
  api: {{image: "{source}/acme/api"}}
  pinned: {{image: "{source}/acme/pinned:1@{pinned}"}}
  worker: {{image: "{source}/acme/api:latest"}}
""",
    )
    listing = list_from(user, "compose.yaml", "--target", f"{target}/mirror/")
    assert listing == Listing(
        0,
        f"""\
- source: {source}/library/nginx:1.27
  target: {target}/mirror/
- source: {source}/acme/api
  target: {target}/mirror/
- source: {source}/acme/pinned:1@{pinned}
  target: {target}/mirror/acme/pinned:1
""",
        [],
    )
    user.write("images.yaml", listing.output)
    assert user.sync().code == 0
    assert {name: target.digest(f"mirror/{name}") for name in digests} == digests


KUBERNETES = f"""\
# Source: chart/templates/web.yaml
apiVersion: apps/v1
kind: Deployment
metadata: {{name: web}}
spec:
  template:
    spec:
      initContainers:
      - name: init
        image: busybox:1.36
      containers:
      - name: web
        image: "registry.k8s.io/ingress-nginx/controller:v1.11.2@{DIGEST}"
      - image: "{{{{ .Values.image }}}}:1"
      volumes:
      - image: {{reference: quay.io/acme/models:2}}
---
apiVersion: v1
kind: ConfigMap
metadata: {{name: text}}
data:
  text: |
    image: never:1
---
# an empty document about an image
---
apiVersion: v1
kind: List
items:
- spec: {{containers: [{{name: one, image: busybox:1.36}}, {{name: two, image: alpine}}]}}
---
apiVersion: helm.toolkit.fluxcd.io/v2
kind: HelmRelease
metadata: {{name: release}}
spec: {{values: {{image: {{repository: acme/app, tag: 1}}}}}}
---
broken: [image
"""


def test_kubernetes(user: User) -> None:
    """As from `helm template x | sync.py --list-from -`; one document that cannot be read does not hide the others."""
    listing = list_from(user, "-", *TARGET, stdin=KUBERNETES)
    assert listing == Listing(
        1,
        f"""\
- source: busybox:1.36
  target: r.example.com/mirror/
- source: registry.k8s.io/ingress-nginx/controller:v1.11.2@{DIGEST}
  target: r.example.com/mirror/ingress-nginx/controller:v1.11.2
- source: quay.io/acme/models:2
  target: r.example.com/mirror/
- source: alpine
  target: r.example.com/mirror/
""",
        [
            "- Deployment/web: spec.template.spec.containers[1].image: '{{ .Values.image }}:1' is a template; render it "
            f"first, or {BY_HAND}",
            f"- HelmRelease/release: spec.values.image: is an object, whose parts only its program can join; {BY_HAND}",
            "- document 5: line 38, column 1: expected ',' or ']', but got '<stream end>'; correct the YAML there",
        ],
    )


def test_json_of_kubectl(user: User) -> None:
    items = [{"kind": "Pod", "spec": {"containers": [{"image": f"acme/app:{tag}"}]}} for tag in ("1.0", "2")]
    user.write("pods.json", {"kind": "List", "items": items})
    assert sources(list_from(user, "pods.json", *TARGET)) == ["acme/app:1.0", "acme/app:2"]


DOCKERFILE = """\
# syntax=docker/dockerfile:1
ARG VERSION=1
FROM --platform=$BUILDPLATFORM golang:1.23 AS Build
RUN cat <<EOF && \\
    true
FROM nothing
EOF
RUN echo $((1<<N))
FROM scratch AS empty
FROM build AS test
FROM alpine:${VERSION}
COPY --chown=1:1 --from=build /a /b
COPY --from=ghcr.io/astral-sh/uv:0.5 /uv /bin/
FROM one two three
from \\
  # comment
  debian:12-slim
"""


def test_dockerfile(user: User) -> None:
    user.write("Dockerfile", DOCKERFILE)
    listing = list_from(user, "Dockerfile", *TARGET)
    assert listing == Listing(
        1,
        """\
- source: golang:1.23
  target: r.example.com/mirror/
- source: ghcr.io/astral-sh/uv:0.5
  target: r.example.com/mirror/
- source: debian:12-slim
  target: r.example.com/mirror/
""",
        [
            f"- line 11: 'alpine:${{VERSION}}' has a variable; {BY_HAND}",
            f"- line 14: is not like FROM image AS stage; {BY_HAND}",
        ],
    )


REGSYNC = r"""
version: 1
creds:
  - registry: r.example.com
    user: "{{env \"USER\"}}"
    pass: not-to-be-shown
defaults:
  interval: 60m
  backup: "old-{{.Ref.Tag}}"
sync:
  - source: busybox:latest
    target: r.example.com/library/busybox:latest
    type: image
    platform: linux/amd64
  - source: alpine
    target: r.example.com/library/alpine
    type: repository
    tags:
      allow: ["3", "3\\.\\d+"]
      deny: [".*-rc.*"]
  - source: ghcr.io/acme/app
    target: r.example.com/acme/app
    type: repository
    platforms: [linux/amd64, linux/arm64]
    digestTags: true
    referrerFilters: [{artifactType: application/example}]
  - source: ghcr.io/acme/app
    target: r.example.com/acme/versions
    type: repository
    tags: {semverRange: [">=1"]}
  - {source: old.example.com, target: r.example.com, type: registry}
  - {source: '{{env "IMAGE"}}', target: r.example.com/x1, type: image}
  - {source: alpine, target: r.example.com/look, type: repository, tags: {allow: ["(?!x).*"]}}
"""


def test_regsync(user: User) -> None:
    user.write("regsync.yml", REGSYNC)
    listing = list_from(user, "regsync.yml")
    assert listing == Listing(
        1,
        r"""- source: busybox:latest
  target: r.example.com/library/busybox:latest
  platforms: linux/amd64
- source: alpine
  target: r.example.com/library/alpine
  tags:
    match: /^3$|^3\.\d+$/
    exclude:
    - /^.*-rc.*$/
- source: ghcr.io/acme/app
  target: r.example.com/acme/app
  tags: {}
  platforms:
  - linux/amd64
  - linux/arm64
  referrers: true
""",
        [
            f"- creds: {ACCOUNTS}",
            "- defaults.backup: is not converted; the row is without it",
            "- sync[2].referrerFilters: is not converted; the row is without it",
            "- sync[3].tags: has more than allow and deny; write the row by hand",
            "- sync[4].type: is a whole registry; write a row for each of its repositories by hand",
            f"- sync[5]: '{{{{env \"IMAGE\"}}}}' is a template; render it first, or {BY_HAND}",
            "- sync[6].tags.match: '/^(?!x).*$/' has a pattern with '(?!', which RE2 does not support (no look-ahead, "
            "look-behind or back-references); write a pattern of the tags to take, or list them: repository:tag,tag",
        ],
    )


SKOPEO = rf"""
docker.io:
  credentials: {{username: john, password: not to be shown}}
  images:
    redis: ["1.0", 2.10]
    busybox: []
    library/alpine: ["{DIGEST}"]
  images-by-tag-regex:
    nginx: ^1\.13\.[12]-alpine-perl$
  images-by-semver:
    alpine: ">= 3.12.0, < 4"
    node: ">= 20.0.0-rc1"
quay.io:
  tls-verify: false
  images:
    coreos/etcd: [latest]
"""


def test_skopeo(user: User) -> None:
    user.write("sync.yaml", SKOPEO)
    listing = list_from(user, "sync.yaml", *TARGET)
    assert listing == Listing(
        1,
        rf"""- source: docker.io/redis
  target: r.example.com/mirror/
  tags:
    include:
    - '1.0'
    - '2.10'
- source: docker.io/busybox
  target: r.example.com/mirror/
  tags: {{}}
- source: docker.io/library/alpine@{DIGEST}
  target: r.example.com/mirror/
- source: docker.io/nginx
  target: r.example.com/mirror/
  tags:
    match: /^1\.13\.[12]-alpine-perl$/
- source: docker.io/alpine
  target: r.example.com/mirror/
  tags:
    semver: '>= 3.12.0 < 4'
- source: quay.io/coreos/etcd
  target: r.example.com/mirror/
  tags:
    include:
    - latest
""",
        [
            f'- ["docker.io"].credentials: {ACCOUNTS}',
            '- ["docker.io"]["images-by-semver"].node: \'>= 20.0.0-rc1\' names a prerelease, which ranges of npm treat '
            "differently; write the row by hand",
            '- ["quay.io"]["tls-verify"]: is not converted; write `insecure: true` into the accounts file',
        ],
    )


DREGSY = r"""
relay: skopeo
tasks:
  - name: task1
    interval: 60
    source: {registry: source.acme.com, auth: bm90IHRvIGJlIHNob3du}
    target: {registry: dest.acme.com, auth: none, skip-tls-verify: true}
    mappings:
      - from: test/image
        to: archive/test/image
        tags: ['0.1.0', 0.10]
      - from: test/another-image
        platform: linux/arm64/v8
      - from: kubernetes/tool
        tags: ['semver: >=1.31.0 <1.31.9', 'semver: 2.x', 'regex: 1\.26\.[0-9]-(glibc|musl)', '1.29.4', latest]
      - {from: 'regex:test/.*', to: copies}
      - {from: test/not, tags: ['regex: !^dev']}
"""


def test_dregsy(user: User) -> None:
    user.write("dregsy.yaml", DREGSY)
    listing = list_from(user, "dregsy.yaml", *TARGET)
    assert listing == Listing(
        1,
        r"""- source: source.acme.com/test/image
  target: dest.acme.com/archive/test/image
  tags:
    include:
    - 0.1.0
    - '0.10'
- source: source.acme.com/test/another-image
  target: dest.acme.com/test/another-image
  tags: {}
  platforms: linux/arm64/v8
- source: source.acme.com/kubernetes/tool
  target: dest.acme.com/kubernetes/tool
  tags:
    semver: '>=1.31.0 <1.31.9 || 2.x'
    include:
    - /^1\.26\.[0-9]-(glibc|musl)$/
    - 1.29.4
    - latest
""",
        [
            f"- tasks[0].source.auth: {ACCOUNTS}",
            '- tasks[0].target["skip-tls-verify"]: is not converted; write `insecure: true` into the accounts file',
            *(
                f"- tasks[0].mappings[2].tags[{index}]: '{text}' takes prereleases as well there (1.2.3-rc1), but not here; "
                "add them to `include`"
                for index, text in enumerate([">=1.31.0 <1.31.9", "2.x"])
            ),
            "- tasks[0].mappings[3]: is a pattern of repositories; write a row for each of them by hand",
            "- tasks[0].mappings[4].tags[0]: 'regex: !^dev' has no counterpart; write the row by hand",
        ],
    )


@pytest.mark.parametrize("wrap", [False, True])
def test_image_syncer(user: User, *, wrap: bool) -> None:
    """Its map becomes rows that mean the same: no tag is every tag, or the source's."""
    images = {
        "quay.io/coreos/kube-rbac-proxy": "quay.io/ruohe/kube-rbac-proxy",
        "quay.io/coreos/kube-rbac-proxy:v1.0": ["r.example.com/a/one", "r.example.com/a/two:v2"],
        "quay.io/coreos/etcd:v3,v4": "r.example.com/etcd",
        "quay.io/coreos/flannel:/^v1/": "r.example.com/flannel",
        f"quay.io/coreos/dex@{DIGEST}": "r.example.com/dex",
    }
    user.write("images.json", {"auth": {}, "images": images} if wrap else images)
    listing = list_from(user, "images.json")
    expected = f"""\
- source: quay.io/coreos/kube-rbac-proxy
  target: quay.io/ruohe/kube-rbac-proxy
  tags: {{}}
- source: quay.io/coreos/kube-rbac-proxy:v1.0
  target:
  - r.example.com/a/one:v1.0
  - r.example.com/a/two:v2
- source: quay.io/coreos/etcd:v3,v4
  target: r.example.com/etcd
- source: quay.io/coreos/flannel:/^v1/
  target: r.example.com/flannel
- source: quay.io/coreos/dex@{DIGEST}
  target: r.example.com/dex@{DIGEST}
"""
    assert listing == Listing(0, expected, [])


def test_a_file_without_images(user: User) -> None:
    listing = list_from(user, "-", *TARGET, stdin="kind: Namespace\nmetadata: {name: one}\n")
    assert listing == Listing(
        1, "[]\n", ["- standard input: names no image; nothing in it is `image:`, FROM or a list that is known"]
    )


@pytest.mark.parametrize(
    ("stdin", "flags", "error"),
    [
        ("image: a1", (), "--target: is missing, and the file has no targets; write one like --target "
         "registry.example.com/mirror/"),
        ("FROM a1", (), "--target: is missing, and the file has no targets; write one like --target "
         "registry.example.com/mirror/"),
        ("image: a1", ("--target", "r.example.com/mirror"), "--target: 'r.example.com/mirror' does not end in '/'; write one "
         "like registry.example.com/mirror/"),
        ("image: a1", ("--target", "r.example.com/{tog}/"), "--target: 'r.example.com/{tog}/' has '{tog}'; the keys are "
         "{registry}, {repository}, {name} and {tag}"),
        ("", TARGET, "standard input: is empty; the command before it may have failed"),
        ("image: [", TARGET, "standard input: line 1, column 9: expected the node content, but found '<stream end>'; correct "
         "the YAML there"),
        ("image: {{ .Values.image }}", TARGET, "standard input: has templates ({{ }}); render it first, as `helm template` "
         "does"),
    ],
)  # fmt: skip
def test_input_that_cannot_be_used(user: User, stdin: str, flags: tuple[str, ...], error: str) -> None:
    assert list_from(user, "-", *flags, stdin=stdin) == Listing(2, "", [f"sync.py: error: {error}"])


@pytest.mark.parametrize(
    ("flags", "error"),
    [
        (("--target", "r.example.com/"), "--target belongs to --list-from"),
        (("--list-from", "a.yaml", *TARGET, "--dry-run"), "--list-from takes --target and no other flag"),
        (("--list-from", "a.yaml", "b.yaml", "c.yaml"), "--list-from takes --target and no other flag"),
    ],
)
def test_flags_that_do_not_go_together(user: User, flags: tuple[str, ...], error: str) -> None:
    run = user.run("sync.py", *flags)
    assert (run.code, run.output.splitlines()[-1]) == (2, f"sync.py: error: {error}")


def test_a_file_that_cannot_be_read(user: User) -> None:
    listing = list_from(user, "none.yaml", *TARGET)
    error = f"none.yaml: not found in {user.folder}; create it or correct the path"
    assert listing == Listing(2, "", [f"sync.py: error: {error}"])


def test_a_bomb_of_aliases_and_too_large_an_input(user: User) -> None:
    levels = [f"l{i}: &l{i} [{', '.join([f'*l{i - 1}'] * 9)}]" for i in range(1, 12)]
    bomb = "\n".join(["l0: &l0 {image: nginx}", *levels])
    expected = ["sync.py: error: standard input: has too many aliases in aliases; write the values out"]
    assert list_from(user, "-", *TARGET, stdin=bomb) == Listing(2, "", expected)
    deep = json.dumps("x").join(["[" * 100_000, "]" * 100_000])
    assert list_from(user, "-", *TARGET, stdin=deep).code == 2
    large = "# comment\n" * 3_400_000
    expected = ["sync.py: error: standard input: is larger than 32 MiB; split it"]
    assert list_from(user, "-", *TARGET, stdin=large) == Listing(2, "", expected)

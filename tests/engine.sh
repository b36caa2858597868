#!/usr/bin/env bash
# A Docker engine for the tests, where there is none and nothing can be pulled: Debian's, with stand-ins for the base
# images that the Dockerfile names. Takes a folder; leaves the engine running, with its process ID in FOLDER/pid and
# its socket at FOLDER/docker.sock. As root; what it does with an image that is there already is nothing.
set -euo pipefail
folder=$(mkdir -p "$1" && cd "$1" && pwd)
bundle=$(cd "$(dirname "$0")/.." && pwd)
export DOCKER_HOST=unix://$folder/docker.sock
suite=trixie
DEBIAN_MIRROR=${DEBIAN_MIRROR:-}  # else the one that debootstrap knows
python=$(sed -n 's/^ARG PYTHON_VERSION=//p' "$bundle/Dockerfile")
go=$(sed -n 's/^ARG GO_VERSION=//p' "$bundle/Dockerfile")

need() {  # packages
    dpkg --status "$@" >/dev/null 2>&1 && return
    apt-get update --quiet=2
    DEBIAN_FRONTEND=noninteractive apt-get install --quiet=2 --yes --no-install-recommends "$@" >"$folder/apt.log" 2>&1 \
        || { tail -20 "$folder/apt.log" >&2; exit 1; }
}

need docker.io debootstrap iptables cron curl ca-certificates

if ! docker info >/dev/null 2>&1; then
    dockerd --data-root "$folder/root" --exec-root "$folder/exec" --pidfile "$folder/pid" -H "$DOCKER_HOST" \
        >"$folder/dockerd.log" 2>&1 &
    for _ in $(seq 300); do
        docker info >/dev/null 2>&1 && break
        sleep 0.2
    done
    docker info >/dev/null || { tail -20 "$folder/dockerd.log" >&2; exit 1; }
fi

have() { docker image inspect "$1" >/dev/null 2>&1; }

if ! have "python:$python-slim"; then
    debootstrap --variant=minbase --include=ca-certificates,python3,python3-pip,tzdata "$suite" "$folder/base" \
        $DEBIAN_MIRROR >"$folder/debootstrap.log" 2>&1 \
        || { tail -20 "$folder/debootstrap.log" >&2; exit 1; }
    cp /etc/ssl/certs/ca-certificates.crt "$folder/base/etc/ssl/certs/"
    rm -f "$folder"/base/usr/lib/python3*/EXTERNALLY-MANAGED
    rm -rf "$folder"/base/var/cache/apt/archives/*.deb "$folder"/base/var/lib/apt/lists/*
    ln -sf python3 "$folder/base/usr/bin/python"
    tar -C "$folder/base" -c . | docker import --change 'CMD ["python3"]' - "python:$python-slim" >/dev/null
fi

if ! have "golang:$go"; then
    # The machine's Go, in whichever folder it is.
    goroot=$("${GO:-go}" env GOROOT)
    rm -rf "$folder/base/usr/local/go"
    mkdir -p "$folder/base/usr/local/go"
    cp -a "$goroot/." "$folder/base/usr/local/go/"
    tar -C "$folder/base" -c . | docker import \
        --change 'ENV PATH=/usr/local/go/bin:/go/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin' \
        --change 'ENV GOPATH=/go GOTOOLCHAIN=local' --change 'WORKDIR /go' - "golang:$go" >/dev/null
    rm -rf "$folder/base/usr/local/go"
fi

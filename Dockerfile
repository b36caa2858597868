ARG GO_VERSION=1.27
ARG PYTHON_VERSION=3.13
# Where the base images come from, PyPI and the Go modules may be mirrors, too: see `make image`.
ARG BASE_REGISTRY=docker.io/library

# Builds crane and supercronic from the modules pinned in tools.txt. They are cross-compiled: this stage runs on the builder's platform.
FROM --platform=${BUILDPLATFORM:-linux/amd64} ${BASE_REGISTRY}/golang:${GO_VERSION} AS tools
ARG TARGETOS=linux
ARG TARGETARCH
ARG GOPROXY
COPY tools.txt .
RUN export CGO_ENABLED=0 GOOS=$TARGETOS GOARCH=$TARGETARCH \
 && xargs -n 1 go install -trimpath -ldflags='-s -w' < tools.txt \
 && mkdir /tools \
 && find /go/bin -type f -exec mv {} /tools/ \;

# A stage of its own, because an address of PyPI may contain a password, which the history of the image would show.
FROM ${BASE_REGISTRY}/python:${PYTHON_VERSION}-slim AS libraries
ARG PIP_INDEX_URL
COPY requirements.txt .
RUN pip install --no-cache-dir --disable-pip-version-check --no-compile --target /libraries --require-hashes --only-binary :all: \
        --requirement requirements.txt \
 && rm -rf /libraries/bin \
 && python -m compileall -q --invalidation-mode unchecked-hash -s /libraries -p /app/libraries /libraries

FROM ${BASE_REGISTRY}/python:${PYTHON_VERSION}-slim
# `make image` passes the version, which imageporter/__init__.py holds.
ARG VERSION
LABEL org.opencontainers.image.title="ImagePorter" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.description="Makes every target image equal to its source image, on a schedule" \
      org.opencontainers.image.licenses="MIT"
COPY --from=tools /tools/ /usr/local/bin/
COPY --from=libraries /libraries /app/libraries
COPY LICENSE crontab.tmpl entrypoint.py healthcheck.sh hook.py sync.py /app/
COPY imageporter /app/imageporter
# Compile now, because the root may be read-only later. Anybody may write to /data, because `--user` may select any user.
RUN python -m compileall -q /app/*.py /app/imageporter && mkdir --mode=1777 /data
# /dev/shm is in memory, and writable even if the root is read-only.
ENV TZ=Asia/Shanghai \
    DATA_DIR=/data \
    ALIVE_FILE=/dev/shm/imageporter-alive \
    PYTHONPATH=/app/libraries \
    PYTHONDONTWRITEBYTECODE=1
WORKDIR /app
USER 1000:1000
EXPOSE 8080
HEALTHCHECK --interval=60s --timeout=10s --start-period=30s --retries=1 CMD ["sh", "/app/healthcheck.sh"]
ENTRYPOINT ["python", "/app/entrypoint.py"]

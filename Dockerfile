ARG GO_VERSION=1.27
ARG PYTHON_VERSION=3.13

# Builds crane and supercronic from the modules pinned in tools.txt. They are cross-compiled: this stage runs on the builder's platform.
FROM --platform=${BUILDPLATFORM:-linux/amd64} golang:${GO_VERSION} AS tools
ARG TARGETOS=linux
ARG TARGETARCH
COPY tools.txt .
RUN export CGO_ENABLED=0 GOOS=$TARGETOS GOARCH=$TARGETARCH \
 && xargs -n 1 go install -trimpath -ldflags='-s -w' < tools.txt \
 && mkdir /tools \
 && find /go/bin -type f -exec mv {} /tools/ \;

FROM python:${PYTHON_VERSION}-slim
LABEL org.opencontainers.image.title="ImagePorter" \
      org.opencontainers.image.description="Makes every target image equal to its source image, on a schedule" \
      org.opencontainers.image.licenses="MIT"
COPY --from=tools /tools/ /usr/local/bin/
COPY requirements.txt /app/
RUN pip install --no-cache-dir --disable-pip-version-check --require-hashes --requirement /app/requirements.txt
COPY LICENSE crontab.tmpl entrypoint.py healthcheck.sh hook.py sync.py /app/
COPY imageporter /app/imageporter
# Compile now, because the root may be read-only later. Anybody may write to /data, because `--user` may select any user.
RUN python -m compileall -q /app && mkdir --mode=1777 /data
# /dev/shm is in memory, and writable even if the root is read-only.
ENV TZ=Asia/Shanghai \
    DATA_DIR=/data \
    ALIVE_FILE=/dev/shm/imageporter-alive \
    PYTHONDONTWRITEBYTECODE=1
WORKDIR /app
USER 1000:1000
EXPOSE 8080
HEALTHCHECK --interval=60s --timeout=10s --start-period=30s --retries=1 CMD ["sh", "/app/healthcheck.sh"]
ENTRYPOINT ["python", "/app/entrypoint.py"]

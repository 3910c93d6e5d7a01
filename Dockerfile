# One image for the code server, the runs, the web servers and the daemon: what differs is the command (deploy/compose.yaml).
# Everything that is installed is pinned, with its digest, by deploy/requirements.lock.
FROM python:3.11-slim-bookworm AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /src
RUN python -m venv /opt/venv
COPY deploy/requirements.lock deploy/
RUN /opt/venv/bin/pip install --no-deps --require-hashes -r deploy/requirements.lock
COPY pyproject.toml README.md LICENSE ./
COPY sonar_access_pipeline sonar_access_pipeline
RUN /opt/venv/bin/pip install --no-deps --no-build-isolation . \
 && /opt/venv/bin/python -m compileall -q /opt/venv/lib

FROM python:3.11-slim-bookworm
RUN groupadd --gid 10001 sonar-access \
 && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /tmp sonar-access \
 && install -d -o 10001 -g 10001 -m 0700 /data /opt/dagster/home /opt/dagster/home/storage
COPY --from=build /opt/venv /opt/venv
COPY deploy/dagster.postgres.yaml /opt/dagster/home/dagster.yaml
COPY deploy/workspace.yaml /opt/dagster/workspace.yaml
# Nothing is written but below /data, /opt/dagster/home/storage and /tmp, so the root file system can be read-only.
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    DAGSTER_HOME=/opt/dagster/home \
    SONAR_ACCESS_DATA_DIR=/data
WORKDIR /opt/dagster
USER 10001:10001
EXPOSE 4000
HEALTHCHECK --interval=30s --timeout=10s --start-period=60s \
  CMD ["dagster", "api", "grpc-health-check", "-p", "4000"]
CMD ["dagster", "code-server", "start", "-h", "0.0.0.0", "-p", "4000", "-m", "sonar_access_pipeline.definitions"]

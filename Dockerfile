# One image for the code server, the runs, the web servers, the daemon and the upgrade: what differs is the command
# (deploy/compose.yaml). Everything that is installed is pinned, with its digest, by deploy/requirements.lock.
#
# Behind a proxy that inspects TLS, or with an index of your own: a pip.conf, and the authorities it needs, as build secrets.
#   $ docker build --secret id=pip.conf,src=$HOME/.config/pip/pip.conf --secret id=ca.pem,src=/etc/ssl/certs/ca-certificates.crt .
ARG BASE=python:3.11-slim-bookworm

# Libraries, which change seldom. Not needed to run: their tests, maps of the UI's scripts, descriptions of what AWS offers beside
# S3 and signing in, pip and the build tool.
FROM ${BASE} AS libraries
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python -m venv /opt/venv
COPY deploy/requirements.lock /src/
RUN --mount=type=secret,id=pip.conf,target=/etc/pip.conf --mount=type=secret,id=ca.pem,target=/run/secrets/ca.pem \
    if [ -e /run/secrets/ca.pem ]; then export PIP_CERT=/run/secrets/ca.pem; fi \
 && /opt/venv/bin/pip install --no-deps --no-compile --require-hashes -r /src/requirements.lock
RUN cp -a /opt/venv /opt/builder \
 && /opt/venv/bin/pip uninstall --yes --quiet flit_core setuptools pip \
 && find /opt/venv/lib -type d -name tests -prune -exec rm -rf {} + \
 && find /opt/venv/lib -name '*.map' -delete \
 && find /opt/venv/lib/python3.11/site-packages/botocore/data -mindepth 1 -maxdepth 1 -type d \
      ! -name s3 ! -name sts ! -name sso ! -name sso-oidc ! -name signin -exec rm -rf {} + \
 && /usr/local/bin/python -m compileall -q -j 0 /opt/venv/lib/python3.11/site-packages

# The project, which changes with every release.
FROM libraries AS project
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY sonar_access_pipeline sonar_access_pipeline
RUN sed -i '1s,^#!.*,#!/opt/venv/bin/python,' /opt/builder/bin/pip \
 && /opt/builder/bin/python -m flit_core.wheel \
 && /opt/builder/bin/python -m pip install --no-deps --no-index --no-compile --prefix /opt/project dist/*.whl \
 && sed -i '1s,^#!.*,#!/opt/venv/bin/python,' /opt/project/bin/* \
 && /usr/local/bin/python -m compileall -q /opt/project

FROM ${BASE}
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="sonar-access-pipeline" \
      org.opencontainers.image.description="Who has access to SonarCloud, on any day, proven" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
RUN groupadd --gid 10001 sonar-access \
 && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /tmp sonar-access \
 && install -d -o 10001 -g 10001 -m 0700 /data /opt/dagster/home /opt/dagster/home/storage
COPY --from=libraries /opt/venv /opt/venv
COPY deploy/dagster.postgres.yaml /opt/dagster/home/dagster.yaml
COPY deploy/workspace.yaml deploy/health.py /opt/dagster/
COPY --from=project /opt/project /opt/venv
# Nothing is written but below /data, /opt/dagster/home/storage and /tmp, so the root file system can be read-only.
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    DAGSTER_HOME=/opt/dagster/home \
    SONAR_ACCESS_DATA_DIR=/data
WORKDIR /opt/dagster
USER 10001:10001
EXPOSE 4000
CMD ["dagster", "code-server", "start", "-h", "0.0.0.0", "-p", "4000", "-m", "sonar_access_pipeline.definitions"]

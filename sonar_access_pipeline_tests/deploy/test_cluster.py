"""docs/deploy.md, "Kubernetes", with Dagster's chart and deploy/helm-values.yaml, on a real
cluster: `make cluster`.

The page's commands are read from it. The cluster is the one that `kubectl` names, with the image of
compose on its nodes. `CHART` is a folder or archive of the chart, where Dagster's own repository is
out of reach; `S3_IMAGE` the image of versitygw. What the page leaves to its reader is added here: a
PostgreSQL that speaks TLS, an object store, and, beside code servers and runs, a simulated source.
Figures are printed: `pytest -s`.
"""

from __future__ import annotations

import copy
import json
import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from sonar_access_pipeline_tests.deploy.test_containers import IMAGE, TRIES, figure
from sonar_access_pipeline_tests.support.deployment import LOADED, ROOT, Deployment, listens, until
from sonar_access_pipeline_tests.support.programs import free_port

TOKEN = "simulated-token"
DATABASE, STORE = (
    "postgres.stand-ins.svc.cluster.local",
    "http://s3.stand-ins.svc.cluster.local:7070",
)
SIMULATED = ("sonar-access-pipeline", "acme"), ("sonar-access-us", "globex")
STAND_INS = """
apiVersion: v1
kind: Namespace
metadata: {name: stand-ins}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: postgres, namespace: stand-ins}
spec:
  selector: {matchLabels: {app: postgres}}
  template:
    metadata: {labels: {app: postgres}}
    spec:
      containers:
        - name: postgres
          image: docker.io/library/postgres:17
          command:
            - sh
            - -c
            - install -o postgres -m 600 /given/tls.key /dev/shm/tls.key && exec docker-entrypoint.sh postgres -c ssl=on
              -c ssl_cert_file=/given/tls.crt -c ssl_key_file=/dev/shm/tls.key
          env:
            - {name: POSTGRES_USER, value: postgres}
            - {name: POSTGRES_DB, value: postgres}
            - {name: POSTGRES_PASSWORD_FILE, value: /given/password_postgres}
          readinessProbe: {exec: {command: [pg_isready, -h, 127.0.0.1, -U, postgres]}, periodSeconds: 2}
          volumeMounts: [{name: given, mountPath: /given}]
      volumes: [{name: given, secret: {secretName: given}}]
---
apiVersion: v1
kind: Service
metadata: {name: postgres, namespace: stand-ins}
spec: {selector: {app: postgres}, ports: [{port: 5432}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: s3, namespace: stand-ins}
spec:
  selector: {matchLabels: {app: s3}}
  template:
    metadata: {labels: {app: s3}}
    spec:
      containers:
        - name: s3
          image: S3_IMAGE
          imagePullPolicy: IfNotPresent
          args: ["--port", ":7070", "--access", "evidence", "--secret", "secret-of-it", "posix", "--sidecar", "/kept", "/objects"]
          readinessProbe: {tcpSocket: {port: 7070}, periodSeconds: 2}
          volumeMounts: [{name: objects, mountPath: /objects}, {name: kept, mountPath: /kept}]
      volumes: [{name: objects, emptyDir: {}}, {name: kept, emptyDir: {}}]
---
apiVersion: v1
kind: Service
metadata: {name: s3, namespace: stand-ins}
spec: {selector: {app: s3}, ports: [{port: 7070}]}
"""  # noqa: E501
CONNECTS = """
import psycopg2
with psycopg2.connect("postgresql://dagster@{}/dagster") as opened, opened.cursor() as cursor:
    cursor.execute("SELECT current_user")
    print(cursor.fetchone()[0])
"""
BUCKET = """
import botocore.session
botocore.session.get_session().create_client("s3", region_name="us-east-1").create_bucket(Bucket="evidence")
"""  # noqa: E501


def values(file: Path) -> None:
    """Fill in the values as the page says, for two connections, with a simulated source beside each
    code server and each run.
    """
    said = yaml.safe_load(file.read_text())
    (first,) = said["dagster-user-deployments"]["deployments"]
    second = copy.deepcopy(first)
    second["name"], second["envSecrets"] = "sonar-access-us", [{"name": "sonar-access-us"}]
    servers = said["dagsterWebserver"]["workspace"]["servers"]
    servers.append({"host": "sonar-access-us", "port": 4000, "name": "sonar_access_us"})
    for deployment, (_, key) in zip((first, second), SIMULATED, strict=True):
        beside = {
            "name": "simulator",
            "image": f"docker.io/library/{IMAGE}",
            "command": [
                "sh",
                "-c",
                (
                    f"exec {COMMAND} --organization {key} --latency-ms $(cat"
                    " /run/latency/milliseconds || echo 0)"
                ),
            ],
            "securityContext": first["securityContext"],
            "resources": first["resources"],
            "volumeMounts": [{"name": "latency", "mountPath": "/run/latency"}],
        }
        deployment["volumes"] = [*deployment["volumes"], LATENCY]
        # Which stays beside the code server, and, since the chart hands it on, beside each run,
        # until that ends.
        deployment["initContainers"] = [{**beside, "restartPolicy": "Always"}]
    said["dagster-user-deployments"]["deployments"] = [first, second]
    file.write_text(yaml.safe_dump(said, sort_keys=False))


COMMAND = "python -m sonar_access_pipeline.simulator --port 9000 --accounts 60"
LATENCY = {"name": "latency", "configMap": {"name": "latency", "optional": True}}


class Cluster:
    """The cluster, as `kubectl` sees it, and the site's folder, in which the page's commands
    run.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def run(self, command: str, *, text: str | None = None, check: bool = True) -> str:
        """Run a command as the page has it; what it said."""
        words = ["bash", "-euo", "pipefail", "-c", command]
        environ = {
            **os.environ,
            "SONAR_TOKEN": TOKEN,
            "KUBECONFIG": str(self.folder / "kubeconfig"),
        }
        done = subprocess.run(
            words,
            cwd=self.folder,
            env=environ,
            input=text,
            capture_output=True,
            text=True,
            check=False,
        )
        assert not check or done.returncode == 0, (
            f"{command}\n{done.stdout}{done.stderr}\n{self.events()}"
        )
        return done.stdout + done.stderr

    def events(self) -> str:
        """Ask the cluster for its troubles."""
        words = (
            "kubectl get pods -A -o wide; kubectl get events -A --field-selector type=Warning |"
            " tail -20"
        )
        known = {**os.environ, "KUBECONFIG": str(self.folder / "kubeconfig")}
        return subprocess.run(
            ["bash", "-c", words], env=known, capture_output=True, text=True, check=False
        ).stdout

    def inside(
        self, deployment: str, *words: str, text: str | None = None, check: bool = True
    ) -> str:
        """Run a command inside a deployment's pod; what it said."""
        told = " ".join(f"'{word}'" for word in words)
        container = "dagster-user-deployments" if "user-deployments" in deployment else "dagster"
        return self.run(
            f"kubectl exec -i -c {container} deploy/{deployment} -- {told}", text=text, check=check
        )

    def jobs(self) -> list[dict[str, Any]]:
        """The run Jobs that Dagster made, the newest first."""
        found = json.loads(
            self.run("kubectl get jobs -l app.kubernetes.io/component=run_worker -o json")
        )["items"]
        return sorted(found, key=lambda job: job["metadata"]["creationTimestamp"], reverse=True)


def page() -> list[str]:
    """The commands of the page, in order."""
    section = (
        (ROOT / "docs" / "deploy.md").read_text().split("\n## Kubernetes\n")[1].split("\n## ")[0]
    )
    return re.findall(r"^\$ (.+)$", section, re.M)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    if not os.environ.get("CLUSTER"):
        pytest.skip("no cluster is named: `make cluster`")
    folder = tmp_path_factory.mktemp("site")
    shutil.copytree(
        ROOT / "deploy",
        folder / "deploy",
        ignore=shutil.ignore_patterns("secrets", "settings.env", ".env"),
    )
    for file in (
        folder / "deploy" / "helm-values.yaml",
        *(folder / "deploy" / "kubernetes").glob("*.yaml"),
    ):
        said = file.read_text().replace("registry.example.internal/", "docker.io/library/")
        file.write_text(said.replace("postgres.example.internal", DATABASE))
    values(folder / "deploy" / "helm-values.yaml")
    # A copy of its own: the page's commands change the context. And nothing that is there is
    # touched.
    copied = subprocess.run(
        ["kubectl", "config", "view", "--minify", "--flatten", "--raw"],
        capture_output=True,
        check=True,
    )
    (folder / "kubeconfig").write_bytes(copied.stdout)
    made = Cluster(folder)
    there = made.run("kubectl get namespaces -o name")
    assert "namespace/sonar-access" not in there.split(), "this cluster has an installation already"
    assert "namespace/stand-ins" not in there.split()
    key = (
        "openssl req -x509 -newkey rsa:2048 -nodes -days 30 -subj /CN=postgres -keyout tls.key -out"
        " tls.crt"
    )
    made.run(
        f"{key} && ssh-keygen -q -t ed25519 -N '' -f signing_key && printf globex-token > token"
    )
    yield made
    made.run("kubectl delete namespace sonar-access stand-ins --wait=false")


def prepared(cluster: Cluster) -> None:
    """Add what the page leaves to its reader, once passwords are made: settings, database, store,
    the second connection.
    """
    settings = cluster.folder / "deploy" / "settings.env"
    said = settings.read_text().replace("SONAR_ORGANIZATION=", "SONAR_ORGANIZATION=acme")
    more = {
        "SONAR_HOST_URL": "http://127.0.0.1:9000",
        "SONAR_ACCESS_EVIDENCE_URL": "s3://evidence/sonar",
        "AWS_ACCESS_KEY_ID": "evidence",
        "AWS_SECRET_ACCESS_KEY": "secret-of-it",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": STORE,
    }
    settings.write_text(said + "".join(f"{name}={value}\n" for name, value in more.items()))
    image = os.environ.get("S3_IMAGE", "docker.io/versity/versitygw:latest")
    given = "--from-file=tls.key --from-file=tls.crt --from-file=deploy/secrets/password_postgres"
    cluster.run("kubectl apply -f -", text=STAND_INS.replace("S3_IMAGE", image))
    cluster.run(f"kubectl create secret generic given -n stand-ins {given}")
    cluster.run("kubectl wait -n stand-ins --for=condition=available deploy --all --timeout=5m")
    store = " ".join(
        f"--env={name}={value}" for name, value in more.items() if name.startswith("AWS")
    )
    image = f"--image=docker.io/library/{IMAGE} --image-pull-policy=IfNotPresent"
    cluster.run(
        f"kubectl run bucket -n stand-ins --rm -i --restart=Never {image} {store} -- python -c"
        f" '{BUCKET}'"
    )
    us = (
        said.replace("SONAR_ORGANIZATION=acme", "SONAR_ORGANIZATION=globex")
        + settings.read_text()[len(said) :]
    )
    (cluster.folder / "us.env").write_text(us)
    cluster.run(
        "kubectl create secret generic sonar-access-us --from-env-file=us.env"
        " --from-env-file=deploy/secrets/pipeline.env"
    )


@pytest.fixture(scope="module")
def installed(cluster: Cluster) -> Cluster:
    """The page, word by word."""
    began = time.monotonic()
    for command in page():
        said = command.replace("postgres.example.internal", DATABASE)
        if chart := os.environ.get("CHART"):
            if said.startswith("helm repo"):
                continue
            said = re.sub(r"dagster/dagster --version \S+", chart, said)
        if "databases.yaml" in said:
            prepared(cluster)
        if said.startswith("helm install"):
            figure(f"until helm: {time.monotonic() - began:.0f} s")
        cluster.run(said)
    figure(f"installed: {time.monotonic() - began:.0f} s")
    return cluster


@contextmanager
def ui(cluster: Cluster, port: int) -> Iterator[Deployment]:
    """The UI's server, through the cluster."""
    words = [
        "kubectl",
        f"--kubeconfig={cluster.folder / 'kubeconfig'}",
        "port-forward",
        "svc/sonar-access-dagster-webserver",
        f"{port}:3000",
    ]
    with subprocess.Popen(words, stdout=subprocess.DEVNULL) as forwarded:
        try:
            until("port of the web server", lambda: listens(port))
            made = Deployment(cluster.folder, {}, port, 0, 0, "")
            until("code locations", lambda: are_loaded(made))
            yield made
        finally:
            forwarded.terminate()


def are_loaded(made: Deployment) -> bool:
    """Tell whether the web server has loaded every code location: after a rollout it begins
    anew.
    """
    found = [entry["locationOrLoadError"] for entry in made.ask(LOADED)["locationEntries"]]
    return all(one and one["__typename"] == "RepositoryLocation" for one in found)


@pytest.fixture
def made(installed: Cluster) -> Iterator[Deployment]:
    """The UI's server of what the page installed."""
    with ui(installed, free_port()) as opened:
        yield opened


def sync(made: Deployment, location: str = "sonar_access_pipeline") -> str:
    """Start a sync of today through the UI's server; its run."""
    today = str(datetime.now(UTC).date())
    return until(
        "code location",
        lambda: made.launch("default_daily", location=location, **{"dagster/partition": today}),
    )


def slow(cluster: Cluster, milliseconds: int) -> None:
    """Have the source of the runs that begin from now on answer so late."""
    made = (
        f"kubectl create configmap latency --from-literal=milliseconds={milliseconds}"
        " --dry-run=client -o yaml"
    )
    cluster.run(f"{made} | kubectl apply -f -")


def test_each_connection_is_read_by_pods_that_see_its_own_secret_alone(
    installed: Cluster, made: Deployment
) -> None:
    began = time.monotonic()
    for (deployment, key), location in zip(
        SIMULATED, ("sonar_access_pipeline", "sonar_access_us"), strict=True
    ):
        assert "all 9 endpoints answer" in installed.inside(
            deployment_of(deployment), "sonar-access", "check"
        )
        assert made.ended(sync(made, location), seconds=300, every=1.0) == "SUCCESS", (
            installed.events()
        )
        (container,) = installed.jobs()[0]["spec"]["template"]["spec"]["containers"]
        secrets = {one["secretRef"]["name"] for one in container["envFrom"] if "secretRef" in one}
        assert secrets == {"sonar-access" if key == "acme" else "sonar-access-us"}
        verified = installed.inside(
            deployment_of(deployment), "sonar-access", "evidence", "verify", "--all"
        )
        assert "Each of 1 packets is as it was sealed" in verified
        figure(
            f"{key}: sealed and verified {time.monotonic() - began:.0f} s after the installation"
        )


def deployment_of(name: str) -> str:
    """The Kubernetes Deployment of a code server."""
    return f"sonar-access-dagster-user-deployments-{name}"


def test_web_servers_and_daemon_hold_nothing_that_reaches_the_warehouse(installed: Cluster) -> None:
    tries = TRIES.replace("@postgres/", f"@{DATABASE}/")
    for part in ("daemon", "webserver", "webserver-read-only"):
        told = ("sh", "-c", "PGPASSWORD=$DAGSTER_PG_PASSWORD python -")
        # What it may reach, it does: else nobody knows that it tried.
        own = CONNECTS.format(DATABASE)
        assert installed.inside(f"sonar-access-dagster-{part}", *told, text=own) == "dagster\n"
        assert installed.inside(f"sonar-access-dagster-{part}", *told, text=tries) == ""
        environment = installed.inside(f"sonar-access-dagster-{part}", "cat", "/proc/1/environ")
        assert not re.search(
            r"SONAR_(?!ACCESS_DATA_DIR|ACCESS_(PIPELINE|US|DAGSTER)_)|WAREHOUSE", environment
        ), part


def test_a_new_version_does_not_end_a_run_that_goes_on(
    installed: Cluster, made: Deployment
) -> None:
    slow(installed, 1500)
    run = sync(made)
    until("begin", lambda: made.status(run) == "STARTED", seconds=120)
    installed.run(
        f"kubectl rollout restart deploy/{deployment_of('sonar-access-pipeline')}"
        " deploy/sonar-access-dagster-daemon"
    )
    assert made.ended(run, seconds=300, every=1.0) == "SUCCESS"
    slow(installed, 0)
    (upgrade,) = [command for command in page() if "upgrade.yaml" in command]
    installed.run(upgrade)
    (install,) = [command for command in page() if command.startswith("helm install")]
    began = time.monotonic()
    named = re.sub(r"dagster/dagster --version \S+", os.environ.get("CHART", r"\g<0>"), install)
    installed.run(named.replace("helm install", "helm upgrade"))
    figure(f"helm upgrade: {time.monotonic() - began:.0f} s")


def test_a_run_whose_pod_is_gone_is_told(installed: Cluster, made: Deployment) -> None:
    slow(installed, 3000)
    made.switch_on(sensors=["sonar_access_watch", "sonar_access_retry"])
    run = sync(made)
    until("begin", lambda: made.status(run) == "STARTED", seconds=120)
    began = time.monotonic()
    installed.run(f"kubectl delete pod -l dagster/run-id={run} --grace-period=0 --force")
    assert made.ended(run, seconds=300, every=2.0) == "FAILURE"
    listing = (deployment_of("sonar-access-pipeline"), "sonar-access", "alerts", "list")
    said = re.compile("The run's process was (told to end|lost)")
    until(
        "alert",
        lambda: said.search(installed.inside(*listing, check=False)),
        seconds=300,
        every=2.0,
    )
    figure(f"a run whose pod is gone is said after {time.monotonic() - began:.0f} s")
    slow(installed, 0)

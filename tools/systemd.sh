#!/bin/bash
# docs/deploy.md, "One machine without Docker", word by word, in a Debian of its own that boots with systemd: its commands are read
# from there. Then a sync through the services, a reload, a killed code server, and a stop. The source is simulated.
# usage: tools/systemd.sh      as root, with debootstrap and systemd-container; TOP, PIPCONF, CA as for tools/machines.sh
set -euo pipefail
project=$(cd "$(dirname "$0")/.." && pwd)
top=${TOP:-/tmp/machines} root=${TOP:-/tmp/machines}/systemd
mkdir -p "$top"
[ -x "$root/usr/bin/make" ] || debootstrap --variant=minbase \
    --include=make,ca-certificates,python3,python3-venv,systemd,systemd-sysv,dbus,procps bookworm "$root" > "$top/systemd.log"
cp /etc/resolv.conf /etc/hosts "$root/etc/"
[ -z "${PIPCONF:-}" ] || cp "$PIPCONF" "$root/etc/pip.conf"
[ -z "${CA:-}" ] || cp "$CA" "$root/etc/machine-ca.pem"
mkdir -p "$root/opt/sonar-access"
find "$root/opt/sonar-access" -mindepth 1 -maxdepth 1 ! -name .venv -exec rm -rf {} +
rm -rf "$root/var/lib/sonar-access" "$root/etc/sonar-access" "$root"/etc/systemd/system/sonar-access*
git -C "$project" ls-files -co --exclude-standard -z | tar -C "$project" --null -T - --ignore-failed-read -cf - | tar -C "$root/opt/sonar-access" -xf -

inside() { chroot "$root" /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin ${CA:+PIP_CERT=/etc/machine-ca.pem} sh -c "$1" < "${2:-/dev/null}"; }
mount -t proc proc "$root/proc"
trap 'umount "$root/proc" 2> /dev/null || true' EXIT
printf 'simulated-token' > "$top/token"
# Everything but the last line, which needs a machine that runs.
sed -n '/^## One machine without Docker/,/^## Docker/s/^# //p' "$project/docs/deploy.md" | grep -v '^systemctl' | sed 's/ *# .*//' |
    while read -r line; do echo "# $line"; inside "$line" "$top/token"; done
sed -i 's/^SONAR_ORGANIZATION=.*/SONAR_ORGANIZATION=acme/; s,^#SONAR_HOST_URL=.*,SONAR_HOST_URL=http://127.0.0.1:9000,' "$root/etc/sonar-access/settings.env"
cat > "$root/etc/systemd/system/simulator.service" <<'UNIT'
[Service]
DynamicUser=yes
ExecStart=/opt/sonar-access/.venv/bin/python -m sonar_access_pipeline.simulator --port 9000 --accounts 60
[Install]
WantedBy=multi-user.target
UNIT
inside 'systemctl enable --quiet simulator.service sonar-access.target'
umount "$root/proc"

systemd-nspawn --quiet --directory="$root" --boot --register=no --keep-unit --private-network --kill-signal=SIGRTMIN+3 > "$top/boot.log" 2>&1 &
nspawn=$!
trap 'kill $nspawn 2> /dev/null || true; wait $nspawn 2> /dev/null || true' EXIT
for _ in $(seq 100); do leader=$(pgrep -P $nspawn || true); [ -n "$leader" ] && break; sleep 0.1; done
machine() { nsenter --target "$leader" --all -- "$@"; }
until_true() { for _ in $(seq 120); do "$@" > /dev/null 2>&1 && return 0; sleep 1; done; echo "still not: $*" >&2; machine journalctl -n 40 --no-pager; return 1; }
graphql() { machine python3 -c '
import json, sys, urllib.request
asked = urllib.request.Request("http://127.0.0.1:3000/graphql", json.dumps({"query": sys.argv[1]}).encode(), {"Content-Type": "application/json"})
print(urllib.request.urlopen(asked, timeout=30).read().decode())' "$1"; }
loaded() { graphql '{ workspaceOrError { ... on Workspace { locationEntries { locationOrLoadError { __typename } } } } }' | grep -q '"RepositoryLocation"'; }
until_true loaded
machine systemctl is-active sonar-access-code sonar-access-web sonar-access-read-only sonar-access-daemon
day=$(date -u +%F)
graphql "mutation { launchRun(executionParams: {selector: {repositoryLocationName: \"sonar_access_pipeline\", repositoryName: \"__repository__\",
    jobName: \"default_daily\"}, executionMetadata: {tags: [{key: \"dagster/partition\", value: \"$day\"}]}}) { __typename } }" | grep -q LaunchRunSuccess
succeeded() { graphql '{ runsOrError(limit: 1) { ... on Runs { results { status } } } }' | grep -q '"SUCCESS"'; }
until_true succeeded
echo "a sync through the services: sealed $(machine sh -c 'ls -d /var/lib/sonar-access/evidence/acme/*/*')"
machine sh -c '[ -z "$(find /var/lib/sonar-access ! -user sonar-access)" ] && [ "$(stat -c %a /var/lib/sonar-access)" = 700 ]'
machine /opt/sonar-access/deploy/systemd/sonar-access.sh check
machine systemctl reload sonar-access-code
until_true loaded
before=$(machine systemctl show --value -p MainPID sonar-access-code)
machine systemctl kill --signal=KILL sonar-access-code
again() { [ "$(machine systemctl show --value -p MainPID sonar-access-code)" != "$before" ] && machine systemctl is-active --quiet sonar-access-code && loaded; }
until_true again
echo "the code server was killed, and is back"
machine systemd-analyze security --no-pager sonar-access-code.service sonar-access-daemon.service | grep -i 'overall' || true
machine systemctl stop sonar-access.target
stopped() { ! machine systemctl is-active --quiet sonar-access-code && ! machine systemctl is-active --quiet sonar-access-daemon; }
until_true stopped
echo "all services stopped with their target"

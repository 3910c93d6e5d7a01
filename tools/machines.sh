#!/bin/bash
# The first command on minimal Debians, with nothing but what README asks for: as an ordinary user, in a folder with a space, without
# git. Without the package that brings venv it must say so in one sentence; after its advice, and with settings that a person has for
# other Pythons and an ASCII terminal, it must end well.
# usage: tools/machines.sh [bookworm] [trixie] [sid]      as root, with debootstrap; TOP is where the roots lie
#        PIPCONF and CA: a pip.conf and a bundle of authorities, where the network needs them
set -euo pipefail
project=$(cd "$(dirname "$0")/.." && pwd)
top=${TOP:-/tmp/machines}
mkdir -p "$top"
failed=0

inside() { # ROOT COMMAND...: as the ordinary user, with a clean environment
    local root=$1; shift
    chroot --userspec=1000:1000 "$root" /usr/bin/env -i HOME=/home/person PATH=/usr/bin:/bin PIP_DISABLE_PIP_VERSION_CHECK=1 \
        ${CA:+PIP_CERT=/etc/machine-ca.pem} "$@"
}

say() { printf '%-10s %-46s %s\n' "$1" "$2" "$3"; }

judge() { # SUITE WHAT STATUS WANTED LOG WORDS
    if [ "$3" = "$4" ] && grep -q "$6" "$5" && ! grep -q Traceback "$5"; then say "$1" "$2" "as it must be"
    else say "$1" "$2" "WRONG: exit status $3, see $5"; failed=1; fi
}

for suite in "${@:-bookworm trixie sid}"; do for suite in $suite; do
    root=$top/$suite log=$top/$suite.log
    [ -x "$root/usr/bin/make" ] || debootstrap --variant=minbase --include=make,ca-certificates,python3 "$suite" "$root" > "$log"
    cp /etc/resolv.conf /etc/hosts "$root/etc/"
    [ -z "${PIPCONF:-}" ] || cp "$PIPCONF" "$root/etc/pip.conf"
    [ -z "${CA:-}" ] || cp "$CA" "$root/etc/machine-ca.pem"
    trap 'umount "$root/dev/shm" "$root/dev" "$root/proc" 2> /dev/null || true' EXIT
    mountpoint -q "$root/proc" || mount -t proc proc "$root/proc"
    mountpoint -q "$root/dev" || mount --bind /dev "$root/dev"
    mountpoint -q "$root/dev/shm" || mount --bind /dev/shm "$root/dev/shm"
    home=$root/home/person checkout="/home/person/a checkout"
    rm -rf "$home"; mkdir -p "$root$checkout"
    git -C "$project" ls-files -co --exclude-standard -z | tar -C "$project" --null -T - --ignore-failed-read -cf - | tar -C "$root$checkout" -xf -
    chown -R 1000:1000 "$home"
    version=$(chroot "$root" python3 -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    chroot "$root" env DEBIAN_FRONTEND=noninteractive apt-get purge -y -qq "python$version-venv" python3-venv > /dev/null 2>&1 || true

    status=0; inside "$root" sh -c "cd '$checkout' && make demo" > "$log" 2>&1 || status=$?
    judge "$suite" "Python $version without venv" $status 2 "$log" "run \`apt install python$version-venv\`, then this again"
    [ ! -e "$root$checkout/.venv" ] || { say "$suite" "" "WRONG: half a .venv was left"; failed=1; }

    chroot "$root" env DEBIAN_FRONTEND=noninteractive sh -c "apt-get -o Acquire::Check-Valid-Until=false update -qq && apt-get install -y -qq --no-install-recommends \
        python$version-venv" > "$log.apt" 2>&1
    status=0; inside "$root" sh -c "cd '$checkout' && make demo" > "$log" 2>&1 || status=$?
    judge "$suite" "Python $version after the advice" $status 0 "$log" "30 days in"

    status=0
    inside "$root" LC_ALL=C PYTHONIOENCODING=ascii PYTHONUTF8=0 PYTHONCOERCECLOCALE=0 PIP_USER=1 PYTHONPATH=/home/person/lib \
        sh -c "mkdir -p ~/lib && echo 'raise SystemExit(\"a foreign module\")' > ~/lib/click.py && cd '$checkout' &&
               rm -rf .venv/.made .sonar-access-demo && rm -f .venv/.runtime && make demo" > "$log" 2>&1 || status=$?
    judge "$suite" "Python $version, ASCII, PIP_USER, PYTHONPATH" $status 0 "$log" "30 days in"
    umount "$root/dev/shm" "$root/dev" "$root/proc"
done; done
exit $failed

#!/bin/sh
# What compose.yaml names and no repository holds: passwords, and settings.env to fill in. What is there is kept; what follows from
# the passwords is written anew.
# usage: ./prepare.sh                   as root, so that the files can be given to the account of the containers, and to nobody else
#        ./prepare.sh token             takes the token from its input
#        ./prepare.sh kubernetes HOST   as anybody: what Secrets are made of, for a PostgreSQL that speaks TLS; a token, if one is piped in
set -eu
umask 077
cd "$(dirname "$0")"
case "${1:-}" in
    '' | token) ;;
    kubernetes) host=${2:?the host of the database} ;;
    *) echo "prepare.sh knows 'token' and 'kubernetes HOST', and no '$1'." >&2; exit 2 ;;
esac
mkdir -p secrets/files

if [ "${1:-}" = token ] || { [ "${1:-}" = kubernetes ] && [ ! -t 0 ]; }; then
    given=$(cat)
    case "$given" in
        *[![:graph:]]*) echo "What came is no token: it holds a space or another line. The one before is kept." >&2; exit 2 ;;
        '') [ "$1" = kubernetes ] || { echo "No token came; pipe it in, as compose.yaml says." >&2; exit 2; } ;;
        *) rm -f secrets/sonar_token; printf %s "$given" > secrets/sonar_token ;;
    esac
fi
if [ "${1:-}" = kubernetes ] && [ ! -s secrets/sonar_token ]; then
    echo "There is no token yet; pipe it in, as docs/deploy.md says." >&2
    exit 2
fi
[ -e settings.env ] || cp settings.env.example settings.env
[ -e secrets/sonar_token ] || : > secrets/sonar_token
[ -e secrets/password_postgres ] || od -An -N24 -tx1 /dev/urandom | tr -d ' \n' > secrets/password_postgres
touch secrets/passwords
chmod u+w secrets/passwords
for role in dagster sonar_access pipeline operator analyst reviewer review; do
    grep -q "^$role=" secrets/passwords ||
        printf '%s=%s\n' "$role" "$(od -An -N24 -tx1 /dev/urandom | tr -d ' \n')" >> secrets/passwords
done
pgpass() {
    file=secrets/$1.pgpass; shift; rm -f "$file"
    for role; do sed -n "s/^$role=/postgres:5432:*:$role:/p" secrets/passwords >> "$file"; done
}
pgpass dagster dagster
pgpass code dagster pipeline
pgpass operator dagster operator
pgpass upgrade dagster sonar_access
pgpass reviews review
chmod 400 secrets/*.pgpass secrets/sonar_token secrets/password*
rm -f secrets/*.env
if [ "${1:-}" = kubernetes ]; then
    of() { sed -n "s/^$1=//p" secrets/passwords; }
    url() { printf '%s=postgresql%s://%s:%s@%s/%s?sslmode=require\n' "$1" "$4" "$2" "$(of "$2")" "$host" "$3"; }
    printf 'postgresql-password=%s\n' "$(of dagster)" > secrets/dagster.env
    { url DAGSTER_POSTGRES_URL dagster dagster +psycopg2
      url SONAR_ACCESS_WAREHOUSE_URL sonar_access sonar_access ''; } > secrets/upgrade.env
    url SONAR_ACCESS_WAREHOUSE_URL review sonar_access '' > secrets/reviews.env
    { url SONAR_ACCESS_WAREHOUSE_URL pipeline sonar_access ''
      printf 'SONAR_TOKEN=%s\n' "$(cat secrets/sonar_token)"; } > secrets/pipeline.env
elif [ "$(id -u)" = 0 ]; then
    # The account of the containers (Dockerfile).
    chown -R 10001:10001 secrets/*.pgpass secrets/sonar_token secrets/password* secrets/files
else
    echo "Run this as root, or give secrets/ to the user 10001: the containers cannot read it otherwise." >&2
    exit 1
fi

#!/bin/sh
# What compose.yaml names and no repository holds: passwords, and settings.env to fill in. What is there is kept; what follows from
# the passwords is written anew.
# usage: ./prepare.sh                   as root, so that the files can be given to the account of the containers, and to nobody else
#        ./prepare.sh token             takes the token from its input
#        ./prepare.sh kubernetes HOST   the same, as anybody: what Secrets are made of, for a PostgreSQL that speaks TLS
set -eu
umask 077
cd "$(dirname "$0")"
mkdir -p secrets/files

if [ "${1:-}" = token ] || [ "${1:-}" = kubernetes ]; then
    rm -f secrets/sonar_token
    cat > secrets/sonar_token
fi
[ -e settings.env ] || cp settings.env.example settings.env
[ -e secrets/sonar_token ] || : > secrets/sonar_token
[ -e secrets/password_postgres ] || od -An -N24 -tx1 /dev/urandom | tr -d ' \n' > secrets/password_postgres
touch secrets/passwords
chmod u+w secrets/passwords
for role in dagster sonar_access pipeline operator analyst reviewer; do
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
chmod 400 secrets/*.pgpass secrets/sonar_token secrets/password*
if [ "${1:-}" = kubernetes ]; then
    of() { sed -n "s/^$1=//p" secrets/passwords; }
    url() { echo "postgresql$3://$1:$(of "$1")@$host/$2?sslmode=require"; }
    host=${2:?the host of the database}
    rm -f secrets/*.env
    echo "postgresql-password=$(of dagster)" > secrets/dagster.env
    { echo "DAGSTER_POSTGRES_URL=$(url dagster dagster +psycopg2)"
      echo "SONAR_ACCESS_WAREHOUSE_URL=$(url sonar_access sonar_access '')"; } > secrets/upgrade.env
    { echo "SONAR_ACCESS_WAREHOUSE_URL=$(url pipeline sonar_access '')"
      echo "SONAR_TOKEN=$(cat secrets/sonar_token)"; } > secrets/pipeline.env
elif [ "$(id -u)" = 0 ]; then
    # The account of the containers (Dockerfile).
    chown -R 10001:10001 secrets/*.pgpass secrets/sonar_token secrets/password* secrets/files
else
    echo "Run this as root, or give secrets/ to the user 10001: the containers cannot read it otherwise." >&2
    exit 1
fi

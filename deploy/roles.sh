#!/bin/sh
# Two databases, and a role for each kind of work; safe to repeat. A role that is there keeps what else it may. It reads passwords from PASSWORDS, lines of name=password.
# Whoever runs it makes databases, roles and a trusted extension in a database of another role: a superuser, or with CREATEROLE and
# CREATEDB on PostgreSQL 16 and later.
set -eu
export PGHOST="${PGHOST:-postgres}" PGUSER="${PGUSER:-postgres}" PGDATABASE=postgres
PGPASSWORD=$(cat "${PASSWORD:-/run/secrets/password_postgres}")
export PGPASSWORD
ask() { psql --no-psqlrc --quiet --set ON_ERROR_STOP=1 "$@"; }

# These passwords are 192 random bits, which nobody guesses: hashing them thousands of times at every connection would only cost,
# and Dagster makes five connections a second (PostgreSQL 16 and later).
few=$(ask --tuples-only --no-align --command "SELECT 'SET scram_iterations = 1;' FROM pg_settings WHERE name = 'scram_iterations'")

while IFS='=' read -r name password; do
    # By the environment: an argument could be seen by everybody.
    PASSWORD_OF_ROLE=$password ask --set "name=$name" --set "few=$few" <<'SQL'
\getenv password PASSWORD_OF_ROLE
:few
SELECT format('CREATE ROLE %I LOGIN', :'name') WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = :'name') \gexec
ALTER ROLE :"name" LOGIN PASSWORD :'password';
SQL
done < "${PASSWORDS:-/run/secrets/passwords}"

# Dagster's own, for all its services; the warehouse, whose owner only changes its tables.
ask <<'SQL'
GRANT dagster, sonar_access TO CURRENT_USER;
SELECT format('CREATE DATABASE %I OWNER %I ENCODING ''UTF8'' TEMPLATE template0', name, name)
FROM (VALUES ('dagster'), ('sonar_access')) AS wanted(name)
WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = name) \gexec
REVOKE ALL ON DATABASE dagster, sonar_access, postgres FROM PUBLIC;
GRANT CONNECT ON DATABASE sonar_access TO pipeline, operator, analyst, reviewer, review;
SQL
ask --dbname sonar_access --command 'CREATE EXTENSION IF NOT EXISTS btree_gist'

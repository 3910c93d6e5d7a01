#!/bin/sh
# The command line as root, with the account, the settings and the token of the services: deploy/systemd/sonar-access.sh check
exec systemd-run --quiet --pipe --wait --collect --uid=sonar-access --gid=sonar-access \
    --property=WorkingDirectory=/var/lib/sonar-access --property=UMask=0077 \
    --property=EnvironmentFile=/etc/sonar-access/settings.env --property=LoadCredential=sonar_token:/etc/sonar-access/sonar_token \
    --setenv=SONAR_ACCESS_DATA_DIR=/var/lib/sonar-access --setenv=DAGSTER_HOME=/var/lib/sonar-access/dagster_home \
    /bin/sh -c 'SONAR_TOKEN_FILE=$CREDENTIALS_DIRECTORY/sonar_token exec /opt/sonar-access/.venv/bin/sonar-access "$@"' sonar-access "$@"

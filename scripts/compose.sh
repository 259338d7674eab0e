#!/usr/bin/env bash
# make docker-up and make docker-down. Passwords are made once and kept in .env (0600). The token that only reads is also
# written to a file, because Prometheus reads it from one.
#
#   scripts/compose.sh up | down | secrets
set -euo pipefail
cd "$(dirname "$0")/.."

compose() {
  if docker compose version >/dev/null 2>&1; then docker compose "$@"
  elif command -v docker-compose >/dev/null 2>&1; then docker-compose "$@"
  else
    echo 'install Docker with its compose plugin: https://docs.docker.com/engine/install/' >&2
    exit 1
  fi
}

random() { od -An -N24 -tx1 /dev/urandom | tr -d ' \n'; }

make_secrets() {
  if [ ! -e .env ]; then
    (
      umask 077
      printf '# Letters and digits only: the passwords become parts of URLs.\n' >.env
      printf 'SLUICE_ADMIN_TOKEN=%s\nPOSTGRES_PASSWORD=%s\nREDIS_PASSWORD=%s\n' "$(random)" "$(random)" "$(random)" >>.env
    )
    echo 'made .env with new passwords' >&2
  fi
  # An .env of an older version lacks the newer ones.
  local name
  for name in SLUICE_KEY_SECRET GRAFANA_PASSWORD SLUICE_READ_TOKEN; do
    # The newline comes first: the last line of an edited .env may lack one.
    grep -q "^$name=" .env || printf '\n%s=%s\n' "$name" "$(random)" >>.env
  done
  for name in SLUICE_ADMIN_TOKEN SLUICE_READ_TOKEN; do
    if ! grep -q "^$name=." .env; then
      echo ".env has no $name" >&2
      exit 1
    fi
  done
  # Prometheus reads the file as another user, so everybody may read it, but only the owner may enter its folder. The file
  # is read-only, so it is deleted before it is written again.
  mkdir -p -m 700 .secrets
  # Older versions gave it the token that may write.
  rm -f .secrets/read-token .secrets/admin-token
  sed -n 's/^SLUICE_READ_TOKEN=//p' .env | tr -d '\n' >.secrets/read-token
  chmod 444 .secrets/read-token
}

case "${1:-}" in
  up)
    make_secrets
    compose up --detach --build
    echo 'http://localhost:8080 both balancers · http://localhost:9900 and :9901 their admin ports (token in .env) · http://localhost:9090 Prometheus · http://localhost:3000 Grafana (user admin, password in .env)'
    ;;
  down) make_secrets && compose down ;;
  secrets) make_secrets ;;
  *)
    echo "usage: $0 up | down | secrets" >&2
    exit 2
    ;;
esac

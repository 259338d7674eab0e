#!/usr/bin/env bash
# Makes sure that the programs are there from which the tests start throw-away Redis and PostgreSQL servers of their
# own. On Debian and Ubuntu as root the missing ones are installed, without starting or enabling any service; elsewhere
# this says how to get them and exits 1.
#
#   scripts/services.sh            redis-server and postgres
#   scripts/services.sh --tools    docker-compose and promtool too, for checks that do without them where they are not
set -euo pipefail

policy=/usr/sbin/policy-rc.d
policy_made=no
policy_kept=

restore_policy() {
  if [ "$policy_made" = yes ]; then rm -f "$policy"; fi
  if [ -n "$policy_kept" ]; then mv -f "$policy_kept" "$policy"; fi
}

# What Debian asks before it starts a service: 101 means no.
forbid_service_starts() {
  trap restore_policy EXIT
  if [ -e "$policy" ]; then
    policy_kept=$(mktemp /usr/sbin/policy-rc.d.kept.XXXXXX)
    mv -f "$policy" "$policy_kept"
  fi
  policy_made=yes
  printf '#!/bin/sh\nexit 101\n' >"$policy"
  chmod 755 "$policy"
}

has_redis() { command -v redis-server >/dev/null 2>&1; }

has_postgres() {
  local folder
  for folder in /usr/lib/postgresql/*/bin; do
    if [ -x "$folder/postgres" ] && [ -x "$folder/initdb" ]; then return 0; fi
  done
  command -v postgres >/dev/null 2>&1 && command -v initdb >/dev/null 2>&1
}

missing=()
has_redis || missing+=(redis-server)
has_postgres || missing+=(postgresql)

optional=()
if [ "${1:-}" = --tools ]; then
  command -v docker-compose >/dev/null 2>&1 || optional+=(docker-compose)
  command -v promtool >/dev/null 2>&1 || optional+=(prometheus)
fi

say_how() {
  cat >&2 <<END
The tests start Redis and PostgreSQL servers of their own; these programs are missing: ${missing[*]}
  Debian, Ubuntu:  sudo apt-get install ${missing[*]}
  Fedora:          sudo dnf install redis postgresql-server
  macOS:           brew install redis postgresql
They have to be on PATH (PostgreSQL also in /usr/lib/postgresql/*/bin) and need not run.
END
  exit 1
}

can_install() { [ "$(id -u)" = 0 ] && [ -r /etc/debian_version ] && command -v apt-get >/dev/null 2>&1; }

# Its long report is shown only when it failed.
install_packages() {
  local log
  log=$(mktemp)
  if DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get -qq -o DPkg::Lock::Timeout=120 -o Dpkg::Use-Pty=0 \
    install -y --no-install-recommends "$@" </dev/null >"$log" 2>&1; then
    rm -f "$log"
    return 0
  fi
  cat "$log" >&2
  rm -f "$log"
  return 1
}

# Nobody asked for servers that run from the next boot on.
disable_services() {
  command -v systemctl >/dev/null 2>&1 || return 0
  systemctl disable --quiet "$@" >/dev/null 2>&1 || echo "could not disable the services $*: they may start at boot" >&2
}

if [ ${#missing[@]} -eq 0 ] && [ ${#optional[@]} -eq 0 ]; then exit 0; fi
if ! can_install; then
  if [ ${#missing[@]} -eq 0 ]; then exit 0; fi
  say_how
fi

forbid_service_starts
echo "installing ${missing[*]} ${optional[*]} (no service is started)" >&2
apt-get -qq update </dev/null >&2 || true
if [ ${#missing[@]} -gt 0 ]; then
  install_packages "${missing[@]}" || say_how
  disable_services "${missing[@]}"
fi
for package in "${optional[@]}"; do
  if install_packages "$package"; then
    if [ "$package" = prometheus ]; then disable_services prometheus; fi
  else
    echo "could not install $package; the checks that use it are done without it" >&2
  fi
done
if ! has_redis || ! has_postgres; then say_how; fi

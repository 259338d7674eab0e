#!/usr/bin/env bash
# Makes sure that the programs for the tests are installed: tests start their own servers. As
# root on Debian or Ubuntu it installs what is missing, without starting or enabling a service. Elsewhere it prints how to
# install it and exits 1.
#
#   scripts/services.sh            redis-server, valkey-server, postgres, openssl, pebble, curl, nghttp2, chromium,
#                                  nginx and haproxy
#   scripts/services.sh --tools    docker-compose, Prometheus with promtool, systemd-analyze, fish and zsh too; without them their
#                                  checks are not tried, which the end of a run says
set -euo pipefail

# shellcheck source=scripts/apt.sh
source "${BASH_SOURCE[0]%/*}/apt.sh"

playwright=${BASH_SOURCE[0]%/*}/../node_modules/.bin/playwright-core

has_redis() { command -v redis-server >/dev/null 2>&1; }

has_valkey() { command -v valkey-server >/dev/null 2>&1; }

has_openssl() { command -v openssl >/dev/null 2>&1; }

has_pebble() { command -v pebble >/dev/null 2>&1 && command -v pebble-challtestsrv >/dev/null 2>&1; }

# Debian keeps these two outside of most users' PATH.
has_nginx() { [ -x /usr/sbin/nginx ] || command -v nginx >/dev/null 2>&1; }

has_haproxy() { [ -x /usr/sbin/haproxy ] || command -v haproxy >/dev/null 2>&1; }

has_browser() {
  command -v chromium >/dev/null 2>&1 || command -v google-chrome >/dev/null 2>&1 || has_playwright_browser
}

# Each version of Playwright starts only the browser of its own revision, and knows the folder of that.
has_playwright_browser() {
  local line
  while read -r line; do
    if [[ "$line" == "Install location:"*chromium* ]]; then
      [ -d "/${line#*/}" ]
      return
    fi
  done < <("$playwright" install --dry-run --only-shell chromium 2>/dev/null)
  return 1
}

# Ubuntu has Chromium only as a snap; Playwright, with which the tests drive it, can fetch one.
install_browser() {
  echo "installing chromium" >&2
  if apt-cache show chromium >/dev/null 2>&1 && install_packages chromium; then return 0; fi
  if [ -x "$playwright" ] && quietly "$playwright" install --with-deps --only-shell chromium; then return 0; fi
  echo "could not install Chromium: the tests with a browser will fail. Install chromium or google-chrome, and try again" >&2
}

has_postgres() {
  local folder
  for folder in /usr/lib/postgresql/*/bin; do
    if [ -x "$folder/postgres" ] && [ -x "$folder/initdb" ]; then return 0; fi
  done
  command -v postgres >/dev/null 2>&1 && command -v initdb >/dev/null 2>&1
}

missing=()
has_redis || missing+=(redis-server)
has_valkey || missing+=(valkey-server)
has_openssl || missing+=(openssl)
has_postgres || missing+=(postgresql)
has_pebble || missing+=(pebble)
command -v curl >/dev/null 2>&1 || missing+=(curl)
command -v h2load >/dev/null 2>&1 || missing+=(nghttp2-client)
has_nginx || missing+=(nginx)
has_haproxy || missing+=(haproxy)

optional=()
if [ "${1:-}" = --tools ]; then
  command -v docker-compose >/dev/null 2>&1 || optional+=(docker-compose)
  command -v promtool >/dev/null 2>&1 || optional+=(prometheus)
  command -v systemd-analyze >/dev/null 2>&1 || optional+=(systemd)
  for shell in fish zsh; do command -v "$shell" >/dev/null 2>&1 || optional+=("$shell"); done
fi

say_how() {
  cat >&2 <<END
The tests start servers of their own (Redis, Valkey, PostgreSQL, Pebble, nginx, HAProxy); these programs are missing: ${missing[*]}
  Debian, Ubuntu:  sudo apt-get install ${missing[*]}
  Fedora:          sudo dnf install redis valkey postgresql-server openssl curl nghttp2 chromium nginx haproxy
  macOS:           brew install redis valkey postgresql openssl curl nghttp2 nginx haproxy
  Chromium elsewhere: node_modules/.bin/playwright-core install --with-deps --only-shell chromium
  Pebble elsewhere: go install github.com/letsencrypt/pebble/v2/cmd/...@latest
They must be on PATH (PostgreSQL may be in /usr/lib/postgresql/*/bin) and need not be running.
END
  exit 1
}

if [ ${#missing[@]} -eq 0 ] && [ ${#optional[@]} -eq 0 ] && has_browser; then exit 0; fi
if ! can_install; then
  has_browser || missing+=(chromium)
  if [ ${#missing[@]} -eq 0 ]; then exit 0; fi
  say_how
fi

update_packages
has_browser || install_browser
if [ ${#missing[@]} -eq 0 ] && [ ${#optional[@]} -eq 0 ]; then exit 0; fi
forbid_service_starts
echo "installing ${missing[*]} ${optional[*]} (no service is started)" >&2
if [ ${#missing[@]} -gt 0 ]; then
  install_packages "${missing[@]}" || say_how
  disable_services "${missing[@]}"
fi
for package in "${optional[@]}"; do
  if install_packages "$package"; then
    if [ "$package" = prometheus ]; then disable_services prometheus; fi
  else
    echo "could not install $package; its checks cannot be tried" >&2
  fi
done
if ! has_redis || ! has_postgres; then say_how; fi

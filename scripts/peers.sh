#!/usr/bin/env bash
# Installs what `make bench-peers` compares Sluice with: a load generator and servers from Debian (as root on Debian or
# Ubuntu, without starting or enabling a service) and proxies from npm (into bench/peers/node_modules). What cannot be
# installed is named and the exit is still 0: the bench does without it and says so.
set -euo pipefail
cd "$(dirname "$0")/.."

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

can_install() { [ "$(id -u)" = 0 ] && [ -r /etc/debian_version ] && command -v apt-get >/dev/null 2>&1; }

# Its long report is shown only when it failed.
quietly() {
  local log
  log=$(mktemp)
  if "$@" </dev/null >"$log" 2>&1; then
    rm -f "$log"
    return 0
  fi
  tail -n 20 "$log" >&2
  rm -f "$log"
  return 1
}

install_package() {
  quietly env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get -qq -o DPkg::Lock::Timeout=120 \
    -o Dpkg::Use-Pty=0 install -y --no-install-recommends "$1"
}

missing=()
for program in wrk nginx haproxy caddy redis-server; do
  PATH="$PATH:/usr/sbin:/sbin" command -v "$program" >/dev/null 2>&1 || missing+=("$program")
done
[ -e /usr/lib/nginx/modules/ngx_http_lua_module.so ] || missing+=(libnginx-mod-http-lua)
[ -e /usr/share/lua/5.1/nginx/redis.lua ] || [ -e /usr/share/lua/5.1/resty/redis.lua ] || missing+=(lua-nginx-redis)

if [ ${#missing[@]} -gt 0 ]; then
  if can_install; then
    forbid_service_starts
    echo "installing ${missing[*]} (no service is started)" >&2
    quietly apt-get -qq update || true
    for package in "${missing[@]}"; do
      if ! install_package "$package"; then
        echo "could not install $package; the bench does without it" >&2
      elif command -v systemctl >/dev/null 2>&1; then
        # Nobody asked for servers that run from the next boot on.
        systemctl disable --quiet "$package" >/dev/null 2>&1 || true
      fi
    done
  else
    echo "not installed: ${missing[*]} (Debian, Ubuntu: sudo apt-get install ${missing[*]}); the bench does without" >&2
  fi
fi

if [ ! -e bench/peers/node_modules/.installed ] || [ bench/peers/package-lock.json -nt bench/peers/node_modules/.installed ]; then
  if quietly npm --prefix bench/peers ci --no-audit --no-fund; then
    touch bench/peers/node_modules/.installed
  else
    echo 'could not install the proxies from npm; the bench does without them' >&2
  fi
fi

#!/usr/bin/env bash
# Installs what `make bench-peers` needs. From Debian (as root on Debian or Ubuntu, without starting or enabling a service): the
# servers, load generators, and a compiler for others. From npm: the proxies, into bench/peers/node_modules.
# It prints what it cannot install and exits 0 all the same, because the bench runs without and reports it.
set -euo pipefail
cd "$(dirname "$0")/.."

# shellcheck source=scripts/apt.sh
source scripts/apt.sh

missing=()
for program in wrk nginx haproxy caddy redis-server; do
  PATH="$PATH:/usr/sbin:/sbin" command -v "$program" >/dev/null 2>&1 || missing+=("$program")
done
command -v h2load >/dev/null 2>&1 || missing+=(nghttp2-client)
command -v openssl >/dev/null 2>&1 || missing+=(openssl)
# The load of half-load and the WebSocket echo are compiled here.
command -v cc >/dev/null 2>&1 || missing+=(gcc)
[ -e /usr/include/stdio.h ] || missing+=(libc6-dev)
[ -e /usr/lib/nginx/modules/ngx_http_lua_module.so ] || missing+=(libnginx-mod-http-lua)
[ -e /usr/share/lua/5.1/nginx/redis.lua ] || [ -e /usr/share/lua/5.1/resty/redis.lua ] || missing+=(lua-nginx-redis)

if [ ${#missing[@]} -gt 0 ]; then
  if can_install; then
    forbid_service_starts
    echo "installing ${missing[*]} (no service is started)" >&2
    update_packages
    for package in "${missing[@]}"; do
      if install_packages "$package"; then disable_services "$package"
      else echo "could not install $package; the bench runs without it" >&2
      fi
    done
  else
    echo "not installed: ${missing[*]} (Debian, Ubuntu: sudo apt-get install ${missing[*]}); the bench runs without them" >&2
  fi
fi

if [ ! -e bench/peers/node_modules/.installed ] || [ bench/peers/package-lock.json -nt bench/peers/node_modules/.installed ]; then
  if quietly npm --prefix bench/peers ci --no-audit --no-fund; then
    touch bench/peers/node_modules/.installed
  else
    echo 'could not install the proxies from npm; the bench runs without them' >&2
  fi
fi

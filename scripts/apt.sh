# shellcheck shell=bash
# Sourced by services.sh and peers.sh: installs Debian packages as root without starting or enabling a service.

policy=/usr/sbin/policy-rc.d
policy_made=no
policy_kept=

restore_policy() {
  if [ "$policy_made" = yes ]; then rm -f "$policy"; fi
  if [ -n "$policy_kept" ]; then mv -f "$policy_kept" "$policy"; fi
}

# Debian asks this program before it starts a service; exit code 101 forbids the start. It is removed when the script ends.
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

# Runs a command and shows its output only when it fails.
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

update_packages() { quietly apt-get -qq update || true; }

install_packages() {
  quietly env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get -qq -o DPkg::Lock::Timeout=120 \
    -o Dpkg::Use-Pty=0 install -y --no-install-recommends "$@"
}

# Keeps the servers from starting at the next boot.
disable_services() {
  command -v systemctl >/dev/null 2>&1 || return 0
  systemctl disable --quiet "$@" >/dev/null 2>&1 || echo "could not disable the services $*: they may start at boot" >&2
}

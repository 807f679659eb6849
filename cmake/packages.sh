# shellcheck shell=bash
# Debian 12 packages, for ./quickstart and ./run-tests (both source this file).
#
# Nothing is started: a policy-rc.d that forbids it stands while apt-get runs, and PostgreSQL makes no cluster of its own, so
# that port 5432 stays free. Both files are left alone where they stand already.

# What building and running needs.
# shellcheck disable=SC2034
packages_build=(
  gcc libc6-dev cmake ninja-build pkg-config
  libcfitsio-dev wcslib-dev liberfa-dev libyaml-dev libjansson-dev libssl-dev libcairo2-dev libpng-dev
  zlib1g-dev libbz2-dev
  libpq-dev libcurl4-openssl-dev libmicrohttpd-dev libexpat1-dev libcmocka-dev
  postgresql-15 curl util-linux
)

missing_packages() { # NAME...: those that are not installed, one per line
  dpkg-query -W -f '${db:Status-Status} ${Package}\n' "$@" 2>/dev/null | sed -n 's/^installed //p' | sort -u |
    comm -13 - <(printf '%s\n' "$@" | sort -u)
}

install_packages() { # LOG NAME...
  local log=$1 missing sudo=() guard="" rc; shift
  command -v dpkg-query >/dev/null || { echo "not a Debian machine: packages are not checked"; return 0; }
  mapfile -t missing < <(missing_packages "$@")
  [ ${#missing[@]} -eq 0 ] && return 0
  echo "installing from Debian: ${missing[*]}"
  if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null || { echo "these packages are missing, and neither root nor sudo is here to install them" >&2; return 1; }
    sudo=(sudo)
  fi
  if [ ! -e /usr/sbin/policy-rc.d ]; then
    guard=/usr/sbin/policy-rc.d
    printf '#!/bin/sh\nexit 101\n' | "${sudo[@]}" tee "$guard" >/dev/null && "${sudo[@]}" chmod 755 "$guard"
  fi
  if [ ! -e /etc/postgresql-common/createcluster.conf ]; then
    "${sudo[@]}" mkdir -p /etc/postgresql-common
    echo 'create_main_cluster = false' | "${sudo[@]}" tee /etc/postgresql-common/createcluster.conf >/dev/null
  fi
  local apt=("${sudo[@]}" env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get -qq -o Acquire::Retries=3 -o DPkg::Lock::Timeout=300
    -o Dpkg::Options::=--force-confold) # what stands in /etc already is kept, without a question
  "${apt[@]}" update && "${apt[@]}" install -y --no-install-recommends "${missing[@]}" >"$log" 2>&1
  rc=$?
  [ -z "$guard" ] || "${sudo[@]}" rm -f "$guard"
  [ $rc -eq 0 ] || { [ ! -e "$log" ] || tail -n 30 "$log" >&2; }
  return $rc
}

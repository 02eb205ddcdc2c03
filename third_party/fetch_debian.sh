#!/usr/bin/env bash
# Unpacks Debian's packages, with what they depend on and this machine lacks, into FOLDER, unless
# FOLDER/WANTED is there. Needs apt-get and dpkg, no root; writes below FOLDER only.
# Usage: fetch_debian.sh FOLDER WANTED PACKAGE...
set -euo pipefail
folder=$1
wanted=$2
shift 2
[ -f "$folder/$wanted" ] && exit 0
command -v apt-get >/dev/null && command -v dpkg >/dev/null || {
  echo "no apt-get or no dpkg here" >&2
  exit 1
}
mkdir -p "$folder/.apt/lists/partial" "$folder/.apt/cache/archives/partial"
cd "$folder"
options=(-q -y -o "Dir::Cache=$PWD/.apt/cache" -o APT::Sandbox::User= -o Acquire::Retries=2
  -o Debug::NoLocking=1 --no-install-recommends)
own_lists=(-o "Dir::State::Lists=$PWD/.apt/lists")
fetch() { timeout 120 apt-get "${options[@]}" "$@" </dev/null >.apt/log 2>&1; }
get=(install --download-only --reinstall "$@")
fetch "${get[@]}" || {
  # No package lists on this machine, or old ones: read our own.
  fetch "${own_lists[@]}" update && fetch "${own_lists[@]}" "${get[@]}"
} || {
  tail -n 3 .apt/log >&2
  exit 1
}
for package in .apt/cache/archives/*.deb; do dpkg -x "$package" .; done
rm -rf .apt
[ -f "$wanted" ]

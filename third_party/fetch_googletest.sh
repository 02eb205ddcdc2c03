#!/usr/bin/env bash
# Unpacks the sources of Debian's package googletest into FOLDER (for ANYDRAFT_GTEST_ROOT), unless
# they are there. Needs apt-get and dpkg, no root; writes below FOLDER only.
# Usage: fetch_googletest.sh FOLDER
set -euo pipefail
folder=$1
wanted=usr/src/googletest/googletest/src/gtest-all.cc
[ -f "$folder/$wanted" ] && exit 0
command -v apt-get >/dev/null && command -v dpkg >/dev/null || {
  echo "no apt-get or no dpkg here" >&2
  exit 1
}
mkdir -p "$folder/.apt/lists/partial" "$folder/.apt/cache/archives/partial"
cd "$folder"
options=(-q -o "Dir::Cache=$PWD/.apt/cache" -o APT::Sandbox::User= -o Acquire::Retries=2)
own_lists=(-o "Dir::State::Lists=$PWD/.apt/lists")
fetch() { timeout 120 apt-get "${options[@]}" "$@" </dev/null >.apt/log 2>&1; }
fetch download googletest || {
  # No package lists on this machine, or old ones: read our own.
  fetch "${own_lists[@]}" update && fetch "${own_lists[@]}" download googletest
} || {
  tail -n 3 .apt/log >&2
  exit 1
}
for package in googletest_*.deb; do dpkg -x "$package" .; done
rm -rf googletest_*.deb .apt
[ -f "$wanted" ]

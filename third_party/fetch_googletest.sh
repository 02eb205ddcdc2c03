#!/usr/bin/env bash
# The sources of Debian's package googletest, below FOLDER (for ANYDRAFT_GTEST_ROOT).
# Usage: fetch_googletest.sh FOLDER
set -euo pipefail
exec "$(dirname "$0")/fetch_debian.sh" "$1" usr/src/googletest/googletest/src/gtest-all.cc googletest

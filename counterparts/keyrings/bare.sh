#!/usr/bin/env bash
# Runs a command in a private session with a bus, and no Secret Service on it.
#
#   bare.sh -- COMMAND…
set -euo pipefail
source "$(dirname "$0")/session.sh"
[ "$1" = -- ] && shift

start_bus
run_command "$@"

#!/usr/bin/env bash
# Runs a command in a private session whose Secret Service has a fault.
#
#   mock.sh hang|deny|slow[:SECONDS] [--at METHOD] -- COMMAND…
#
# See mock.py. Exit status 125: the session could not be made; 124: out of time.
set -euo pipefail
source "$(dirname "$0")/session.sh"

fault=${1%%:*} seconds=1 at=""
[[ $1 != *:* ]] || seconds=${1##*:}
shift
if [ "$1" = --at ]; then
    at=",\"at\":\"$2\""
    shift 2
fi
[ "$1" = -- ] && shift

start_bus
# The distribution's Python: the package is installed for that one.
background /usr/bin/python3 -m dbusmock --session --template "$(dirname "$0")/mock.py" \
    --parameters "{\"fault\":\"$fault\",\"seconds\":$seconds$at}"
await has_owner org.freedesktop.secrets
run_command "$@"

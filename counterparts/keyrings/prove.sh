#!/usr/bin/env bash
# Shows that each session is what it says, with other people's clients: a failure here is not the
# command's.
set -euo pipefail
cd "$(dirname "$0")"

ATTRIBUTES="service baseten-profile username proof"
STORE="printf s3cret | secret-tool store --label proof $ATTRIBUTES"
LOOKUP="secret-tool lookup $ATTRIBUTES"
OUT_OF_TIME=124
failures=0
stderr=$(mktemp)
trap 'rm -f "$stderr"' EXIT

# expect STATUS OUTPUT COMMAND…
expect() {
    local status=0 output session="${*:3}"
    session=${session%% --prepare *}
    session=${session%% -- *}
    output=$(COMMAND_SECONDS=${seconds:-20} "${@:3}" 2>"$stderr") || status=$?
    if [ "$status" = "$1" ] && [ "$output" = "$2" ]; then
        echo "as expected: $session"
    else
        echo "NOT as expected: $session: exit status $status (not $1), output '$output' (not '$2')"
        sed 's/^/    /' "$stderr"
        failures=$((failures + 1))
    fi
}

# shellcheck disable=SC2086
main() {
    expect 0 s3cret ./gnome.sh -- sh -c "$STORE; $LOOKUP"
    expect 0 s3cret ./gnome.sh --prepare "$STORE" -- $LOOKUP
    expect 1 "" ./gnome.sh --locked --prepare "$STORE" -- $LOOKUP
    expect 0 s3cret ./gnome.sh --locked --prompt answer --prepare "$STORE" -- $LOOKUP
    expect 1 "" ./gnome.sh --locked --prompt cancel --prepare "$STORE" -- $LOOKUP
    seconds=2 expect $OUT_OF_TIME "" ./gnome.sh --locked --prompt ignore --prepare "$STORE" -- $LOOKUP
    seconds=2 expect $OUT_OF_TIME "" ./gnome.sh --frozen --prepare "$STORE" -- $LOOKUP

    expect 0 s3cret ./keepassxc.sh -- sh -c "$STORE; $LOOKUP"
    seconds=2 expect $OUT_OF_TIME "" ./keepassxc.sh --locked -- $LOOKUP

    expect 0 s3cret ./mock.sh slow:0.2 -- $LOOKUP
    expect 1 "" ./mock.sh deny -- $LOOKUP
    expect 1 "" ./mock.sh deny --at GetSecrets -- $LOOKUP
    seconds=2 expect $OUT_OF_TIME "" ./mock.sh slow:3 --at GetSecrets -- $LOOKUP
    seconds=2 expect $OUT_OF_TIME "" ./mock.sh hang -- $LOOKUP

    expect 1 "" ./bare.sh -- $LOOKUP
    expect 7 "" ./bare.sh -- sh -c "exit 7"
    [ $failures = 0 ]
}

main

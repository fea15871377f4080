#!/usr/bin/env bash
# Answers the keyring's prompts on $DISPLAY, as they come, until it is killed.
#
#   prompt.sh answer|cancel PASSWORD
set -u

while sleep 0.1; do
    window=$(xdotool search --onlyvisible --class gcr-prompter 2>/dev/null | tail -n 1)
    [ -n "$window" ] || continue
    # Without the focus, the keys would be lost. On a busy machine this takes a while.
    timeout 5 xdotool windowfocus --sync "$window" || continue
    # The prompt is drawn before it reads keys.
    sleep 0.5
    if [ "$1" = cancel ]; then
        xdotool key Escape
    else
        xdotool key ctrl+a
        xdotool type --delay 10 "$2"
        xdotool key Return
    fi
    sleep 0.5
done

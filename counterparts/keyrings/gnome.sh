#!/usr/bin/env bash
# Runs a command in a private session with GNOME's keyring.
#
#   gnome.sh [--locked [--prompt answer|cancel|ignore]] [--frozen] [--prepare SHELL-COMMAND] -- COMMAND…
#
# Without options the keyring is unlocked. --locked without --prompt has no display, so nobody can
# unlock it; with --prompt it has one, where somebody types the password, presses Escape, or is away.
# --frozen stops the daemon, which keeps its name on the bus. --prepare runs before all that, with
# the keyring unlocked. Exit status 125: the session could not be made; 124: out of time.
set -euo pipefail
source "$(dirname "$0")/session.sh"

PASSWORD=correct-horse
locked="" prompt="" frozen="" prepare=""
while [ $# -gt 0 ]; do
    case $1 in
    --locked) locked=1 ;;
    --prompt) prompt=$2 && shift ;;
    --frozen) frozen=1 ;;
    --prepare) prepare=$2 && shift ;;
    --) shift && break ;;
    *) echo "gnome.sh: unknown option $1" >&2 && exit 125 ;;
    esac
    shift
done

main() {
    [ -z "$prompt" ] || start_display
    start_bus org.gnome.keyring.SystemPrompter org.gnome.keyring.PrivatePrompter
    # The first unlocking creates a keyring, but not with an empty password.
    start_daemon --unlock
    [ -z "$prepare" ] || sh -c "$prepare"
    if [ -n "$locked" ]; then
        kill "$daemon"
        await has_no_owner org.freedesktop.secrets
        start_daemon
    fi
    case $prompt in
    answer | cancel) background "$(dirname "$0")/prompt.sh" "$prompt" "$PASSWORD" ;;
    esac
    [ -z "$frozen" ] || kill -STOP "$daemon"
    run_command "$@"
}

start_daemon() {
    input=$PASSWORD background gnome-keyring-daemon --foreground --components=secrets "$@"
    await has_owner org.freedesktop.secrets
    daemon=$(pid_of org.freedesktop.secrets)
}

main "$@"

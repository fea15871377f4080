# shellcheck shell=bash
# A private session for one command: home, bus and, if asked for, display. To be sourced.
#
# Nothing of the caller's session is used or changed. What is started here is in process groups of
# its own, so that the command keeps the terminal, and ends with the command. Killing the script is
# fine, but leaves its directory, under TMPDIR.

# The command may take this long.
COMMAND_SECONDS=${COMMAND_SECONDS:-120}
# Anything that is started here may take this long to be ready.
START_SECONDS=20

private=$(mktemp -d "${TMPDIR:-/tmp}/keyring-XXXXXX")
groups=()
trap cleanup EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM

mkdir -p "$private"/{home,run,config,data,services,log}
chmod 700 "$private"/run
export HOME=$private/home XDG_RUNTIME_DIR=$private/run
export XDG_CONFIG_HOME=$private/config XDG_DATA_HOME=$private/data
unset DISPLAY WAYLAND_DISPLAY XAUTHORITY DBUS_SESSION_BUS_ADDRESS GNOME_KEYRING_CONTROL SSH_AUTH_SOCK

# Runs its arguments in the background, in a group that ends with us, even if we are killed. Standard
# input is the text in $input; output is kept for `await`.
background() {
    # Not a here-string, which would add a newline to a password.
    setsid setpriv --pdeathsig KILL "$@" < <(printf %s "${input:-}") >>"$private/log/${1##*/}" 2>&1 &
    groups+=($!)
}

cleanup() {
    local group
    set +e
    # bash would report every process that is killed.
    exec 2>/dev/null
    for group in "${groups[@]}"; do
        kill -CONT -- "-$group"
        kill -TERM -- "-$group"
    done
    # The answering loop may sleep, and a frozen daemon does not react: kill what is left.
    sleep 0.1
    for group in "${groups[@]}"; do
        kill -KILL -- "-$group"
    done
    rm -rf "$private"
}

# Waits until its arguments succeed.
await() {
    local deadline=$((SECONDS + START_SECONDS))
    until "$@" >/dev/null 2>&1; do
        if ((SECONDS >= deadline)); then
            echo "${0##*/}: gave up waiting for: $*" >&2
            tail -n 8 "$private"/log/* >&2
            exit 125
        fi
        sleep 0.05
    done
}

# A session bus that starts nothing but the named services of the machine's.
start_bus() {
    local service
    for service in "$@"; do
        cp "/usr/share/dbus-1/services/$service.service" "$private/services/"
    done
    cat >"$private/bus.conf" <<END
<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
  "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>session</type>
  <listen>unix:path=$private/run/bus</listen>
  <auth>EXTERNAL</auth>
  <servicedir>$private/services</servicedir>
  <policy context="default">
    <allow send_destination="*" eavesdrop="true"/>
    <allow eavesdrop="true"/>
    <allow own="*"/>
  </policy>
</busconfig>
END
    background dbus-daemon --nofork --nopidfile --config-file="$private/bus.conf"
    export DBUS_SESSION_BUS_ADDRESS=unix:path=$private/run/bus
    await test -S "$private/run/bus"
}

# A display without a window manager: what is drawn there is for xdotool.
start_display() {
    local number
    mkfifo "$private/display"
    background sh -c 'exec Xvfb -displayfd 3 -screen 0 800x600x24 -nolisten tcp 3>"$0"' "$private/display"
    read -r -t "$START_SECONDS" number <"$private/display"
    export DISPLAY=:$number
}

has_owner() { ask_bus GetNameOwner "$1"; }

has_no_owner() { ! has_owner "$1"; }

# The process behind a name on the bus.
pid_of() { ask_bus GetConnectionUnixProcessID "$1" | sed -n 's/.*uint32 //p'; }

ask_bus() {
    dbus-send --session --print-reply --reply-timeout=5000 --dest=org.freedesktop.DBus \
        /org/freedesktop/DBus "org.freedesktop.DBus.$1" "string:$2"
}

# Runs the command, with this session, in the foreground.
run_command() {
    local status=0
    timeout --foreground --kill-after=5 "$COMMAND_SECONDS" "$@" || status=$?
    exit "$status"
}

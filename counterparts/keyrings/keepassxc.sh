#!/usr/bin/env bash
# Runs a command in a private session where KeePassXC is the Secret Service.
#
#   keepassxc.sh [--locked] -- COMMAND…
#
# Unlike GNOME's, it has no collection `login`, only one named after its database, under the default
# alias. --locked: its prompt is shown where nobody sees it, and waits. Exit status 125: the session
# could not be made; 124: out of time.
set -euo pipefail
source "$(dirname "$0")/session.sh"

PASSWORD=correct-horse
COLLECTION=/org/freedesktop/secrets/collection/passwords
options=(--pw-stdin) locked=false
if [ "$1" = --locked ]; then
    options=() locked=true
    shift
fi
[ "$1" = -- ] && shift

main() {
    start_bus
    make_database "$private/passwords.kdbx"
    configure "$private/keepassxc.ini"
    touch "$private/local.ini"
    input=$PASSWORD$'\n' background env QT_QPA_PLATFORM=offscreen keepassxc "${options[@]}" \
        --config "$private/keepassxc.ini" --localconfig "$private/local.ini" \
        "$private/passwords.kdbx"
    await lock_is "$locked"
    run_command "$@"
}

# A database that lets clients see its root group. No command sets that, but an import keeps it.
make_database() {
    cat >"$private/database.xml" <<'END'
<KeePassFile>
  <Meta>
    <CustomData>
      <Item>
        <Key>FDO_SECRETS_EXPOSED_GROUP</Key>
        <Value>{00010203-0405-0607-0809-0a0b0c0d0e0f}</Value>
      </Item>
    </CustomData>
  </Meta>
  <Root><Group><UUID>AAECAwQFBgcICQoLDA0ODw==</UUID><Name>Root</Name></Group></Root>
</KeePassFile>
END
    printf '%s\n%s\n' "$PASSWORD" "$PASSWORD" |
        keepassxc-cli import -q --set-password "$private/database.xml" "$1" 2>"$private/log/import"
}

configure() {
    cat >"$1" <<'END'
[General]
UpdateCheckMessageShown=true
[GUI]
CheckForUpdates=false
[FdoSecrets]
Enabled=true
ShowNotification=false
ConfirmAccessItem=false
ConfirmDeleteItem=false
END
}

# Whether the collection exists, and is locked (true) or not (false).
lock_is() {
    dbus-send --session --print-reply --reply-timeout=5000 --dest=org.freedesktop.secrets \
        "$COLLECTION" org.freedesktop.DBus.Properties.Get \
        string:org.freedesktop.Secret.Collection string:Locked | grep -q "boolean $1"
}

main "$@"

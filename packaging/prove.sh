#!/usr/bin/env bash
# prove.sh DIST: what is in DIST for this machine's processor is installed, used and removed with the tools that
# users have; where there is no such tool here, its recipe is only read. Needs root, to install into a directory.
set -euo pipefail
dist=$(cd "$1" && pwd)
packaging=$(cd "$(dirname "$0")" && pwd)
processor=$(uname -m)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
archive=$(cd "$dist" && echo baseten-*-"$processor"-unknown-linux-musl.tar.gz)
version=${archive#baseten-}
version=${version%%-*}

fail() {
    echo "prove.sh: $*" >&2
    exit 1
}

# Fails unless the command fails.
refused() {
    if "$@" >"$work/said" 2>&1; then fail "$* did not fail"; fi
}

# The program and its files in a root, with the directory of zsh's scripts.
installed() {
    local file
    "$1/usr/bin/baseten" --version | grep -F "baseten version $version "
    local status=0
    HOME=$work/home XDG_CONFIG_HOME='' DBUS_SESSION_BUS_ADDRESS='' "$1/usr/bin/baseten" auth status >/dev/null 2>&1 || status=$?
    [ $status = 3 ] || fail "auth status ended with $status"
    for file in share/man/man1/baseten-auth-login.1.gz share/bash-completion/completions/baseten \
        share/zsh/site-functions/_baseten share/fish/vendor_completions.d/baseten.fish \
        lib/systemd/user/baseten-auth.socket lib/systemd/user/baseten-auth.service; do
        [ -s "$1/usr/$file" ] || fail "no $file"
    done
}

removed() {
    local left
    left=$(find "$1" -path '*baseten*' -not -type d -not -path '*/var/*')
    [ -z "$left" ] || fail "left behind: $left"
}

checksums() {
    (cd "$dist" && sha256sum --quiet --check SHA256SUMS)
    [ "$(cd "$dist" && find . -type f | wc -l)" = "$(($(wc -l <"$dist/SHA256SUMS") + 1))" ] || fail "files without checksum"
}

rpm_package() {
    local root=$work/rpm
    local package=$dist/baseten-$version-1.$processor.rpm
    mkdir -p "$root"
    rpm --root "$root" --initdb
    # Debian's `rpm` insists on this.
    local force=()
    [ ! -f /etc/debian_version ] || force=(--force-debian)
    rpm --root "$root" "${force[@]}" --install "$package"
    rpm --root "$root" --verify baseten
    installed "$root"
    rpm --root "$root" "${force[@]}" --erase baseten
    removed "$root"
}

arch_package() {
    local root=$work/arch build=$work/makepkg
    mkdir -p "$build" "$root/var/lib/pacman"
    cp "$dist/PKGBUILD" "$dist/$archive" "$build"
    printf 'CARCH=%s\nCHOST=%s-linux-gnu\n' "$processor" "$processor" >"$build/makepkg.conf"
    cat /etc/makepkg.conf >>"$build/makepkg.conf"
    printf 'CARCH=%s\nPKGEXT=.pkg.tar.gz\nOPTIONS=(!strip !debug zipman)\n' "$processor" >>"$build/makepkg.conf"
    chown -R nobody "$work/makepkg"
    chmod 711 "$work"
    # makepkg does not run as root.
    (cd "$build" && HOME=$build setpriv --reuid=nobody --regid=nogroup --clear-groups \
        makepkg --config "$build/makepkg.conf" --nodeps --noconfirm)
    printf '[options]\nArchitecture = %s\n' "$processor" >"$work/pacman.conf"
    local pacman=(pacman --root "$root" --config "$work/pacman.conf" --noconfirm)
    "${pacman[@]}" --upgrade --nodeps --nodeps "$build"/baseten-auth-bin-*.pkg.tar.gz
    installed "$root"
    "${pacman[@]}" --remove baseten-auth-bin
    removed "$root"
}

# install.sh with options, or another script, as a user with nothing but a home; PATH comes first.
as_user() {
    setpriv --reuid=nobody --regid=nogroup --clear-groups "$(command -v env)" -i "PATH=$1" "HOME=$work/home" \
        "BASETEN_INSTALL_URL=http://127.0.0.1:$port" sh "${@:2}"
}

install_script() {
    local prefix=$work/home/.local
    shellcheck "$packaging/install.sh.in" "$dist/install.sh" "$packaging/finish" "$packaging/prove.sh"
    mkdir -p "$work/home" "$work/release"
    cp "$dist/$archive" "$work/release"
    (cd "$work/release" && exec python3 -u -m http.server --bind 127.0.0.1 0) >"$work/server" 2>/dev/null &
    # shellcheck disable=SC2064 # The process of now.
    trap "kill $!" EXIT
    port=
    for _ in $(seq 200); do
        port=$(sed -n 's/.* port \([0-9]*\) .*/\1/p' "$work/server")
        [ -z "$port" ] || break
        sleep 0.05
    done
    chmod -R a+rX "$work" && chown -R nobody "$work/home"
    cp "$dist/install.sh" "$work/install.sh" && chmod a+r "$work/install.sh"
    as_user "$PATH" "$work/install.sh" --dry-run >"$work/said"
    grep -q "^+ curl .*$archive" "$work/said" || fail "the dry run does not tell of the download"
    [ ! -e "$prefix" ] || fail "the dry run has made something"
    as_user "$PATH" "$work/install.sh"
    "$prefix/bin/baseten" --version | grep -F "baseten version $version "
    [ -s "$prefix/share/man/man1/baseten-auth-login.1" ] || fail "no man pages"
    # Again, over the existing installation, and with the other downloader.
    local without=$work/without-curl program
    mkdir "$without"
    for program in sh uname mktemp dirname mkdir cp chmod mv rm rmdir cat tar gzip sha256sum wget; do
        ln -s "$(command -v "$program")" "$without/$program"
    done
    as_user "$without" "$work/install.sh" >"$work/said"
    grep '^+ wget' "$work/said"
    as_user "$PATH" "$work/install.sh" --uninstall
    removed "$work/home"
    # A truncated script does nothing; a changed archive is not installed.
    head -c 3000 "$work/install.sh" >"$work/half.sh"
    as_user "$PATH" "$work/half.sh" >/dev/null 2>&1 || true
    [ ! -e "$prefix/bin/baseten" ] || fail "half of the script has installed something"
    echo >>"$work/release/$archive"
    refused as_user "$PATH" "$work/install.sh"
    grep -q 'SHA-256' "$work/said" || fail "another error than that of the checksum"
    [ ! -e "$prefix/bin/baseten" ] || fail "a changed archive was installed"
}

# Neither Nix nor Homebrew can build here: their recipes are read, and what they refer to is compared.
recipes() {
    local sum
    sum=$(sha256sum <"$dist/$archive")
    nix-instantiate --parse "$dist/baseten.nix" >/dev/null
    local source
    source=$(nix-instantiate --eval --strict --json -E "
        let fake = import $dist/baseten.nix {
            pkgs = { };
            stdenv = { hostPlatform.system = \"$processor-linux\"; mkDerivation = given: given; };
            fetchurl = given: given;
            installShellFiles = null;
        }; in fake.src")
    [[ $source == *"/v$version/$archive"* && $source == *"${sum%% *}"* ]] || fail "baseten.nix: $source"
    ruby -c "$dist/baseten.rb" >/dev/null
    grep -q "${sum%% *}" "$dist/baseten.rb" || fail "baseten.rb has another checksum"
}

# All of the list beside the program is in the one inside, which also has some crates that run in the compiler, and
# some that only other programs of the workspace make a crate use.
dependencies() {
    tar -xzf "$dist/$archive" -C "$work" --strip-components=1 --wildcards '*/baseten'
    objcopy -O binary --only-section=.dep-v0 --set-section-flags .dep-v0=alloc "$work/baseten" "$work/dependencies"
    python3 - "$work/dependencies" "$dist/${archive%.tar.gz}.cdx.json" <<'END'
import json, sys, zlib

inside, beside = sys.argv[1:]
packages = json.loads(zlib.decompress(open(inside, "rb").read()))["packages"]
inside = {(p["name"], p["version"]) for p in packages if p.get("kind") != "build" and not p.get("root")}
beside = {(c["name"], c["version"]) for c in json.load(open(beside))["components"]}
if len(beside) < 100 or not beside <= inside:
    sys.exit(f"{len(beside)} beside the program, of which it does not have {beside - inside}")
END
}

for part in checksums dependencies rpm_package arch_package install_script recipes; do
    # If it were part of a condition, it would go on after a failure.
    set +e
    (set -eE; trap 'echo "failed: $BASH_COMMAND" >&2' ERR; "$part") >"$work/log" 2>&1
    status=$?
    set -e
    [ $status = 0 ] || { cat "$work/log"; fail "$part"; }
    echo "  $part: passed"
done

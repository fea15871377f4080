#!/bin/sh
# Installs and uses the wheel in each way that docs/python.md names, in a home of its own and without
# a network, and builds one from the source distribution.
#
#     prove.sh WHEEL SDIST VERSION VENV
#
# VENV is the environment that maturin and uv are in.
set -eu
wheel=$1 sdist=$2 version=$3 tools=$4/bin

directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT
cargo_home=${CARGO_HOME:-$HOME/.cargo}
rustup_home=${RUSTUP_HOME:-$HOME/.rustup}
export HOME="$directory/home" PIP_NO_INDEX=1 UV_OFFLINE=1 UV_TOOL_DIR="$directory/tools" UV_TOOL_BIN_DIR="$directory/bin"
mkdir "$HOME"
unset BASETEN_API_KEY BASETEN_PROFILE

# Checks that a program, given by its path and how it is started, is the wheel's.
is_it() {
    said=$("$@" --version)
    case $said in
    "baseten version $version"*) ;;
    *)
        echo "$*: $said" >&2
        exit 1
        ;;
    esac
    echo "$*: $said"
}

# The module, by the Python given, with nothing in PATH that has the program's name.
module_works() {
    said=$(PATH=/nowhere BASETEN_API_KEY=a-key "$@" -c 'import baseten_auth; print(baseten_auth.get_token())')
    [ "$said" = a-key ] || { echo "$*: $said" >&2; exit 1; }
    echo "$*: the module asks the program"
}

# pip, in an environment and into a directory.
python3 -m venv "$directory/venv"
"$directory/venv/bin/pip" install --quiet "$wheel"
is_it "$directory/venv/bin/baseten"
module_works "$directory/venv/bin/python"
# The list of the program's dependencies, if it was written beside the wheel.
sbom=$(dirname "$wheel")/baseten-$version-$(uname -m)-unknown-linux-musl.cdx.json
if [ -e "$sbom" ]; then
    cmp "$sbom" "$directory"/venv/lib/python3*/site-packages/"baseten_auth-$version.dist-info/sboms/baseten.cdx.json"
fi
"$directory/venv/bin/pip" uninstall --quiet --yes baseten-auth
[ ! -e "$directory/venv/bin/baseten" ]
"$directory/venv/bin/pip" install --quiet --target "$directory/target" "$wheel"
export PYTHONPATH="$directory/target"
module_works "$directory/venv/bin/python"
unset PYTHONPATH

# uv.
"$tools/uv" tool install --quiet "$wheel"
is_it "$directory/bin/baseten"
"$tools/uv" tool uninstall --quiet baseten-auth
is_it "$tools/uvx" --quiet --from "$wheel" baseten

# The same wheel is for systems with musl: pip chooses it there, and the program needs none of their files.
for platform in manylinux_2_17 musllinux_1_1; do
    "$directory/venv/bin/pip" install --quiet --platform "${platform}_$(uname -m)" --only-binary=:all: \
        --target "$directory/$platform" --no-deps --find-links "$(dirname "$wheel")" "baseten-auth==$version"
done
mkdir "$directory/empty"
cp "$directory/musllinux_1_1/bin/baseten" "$directory/empty"
if [ "$(id -u)" = 0 ]; then
    is_it chroot "$directory/empty" /baseten
fi

# If there is Rust, the source. An optimized build would take minutes.
CARGO_HOME=$cargo_home RUSTUP_HOME=$rustup_home PATH="$tools:$PATH" MATURIN_PEP517_ARGS="--profile=dev" \
    "$tools/python" -m pip wheel --quiet --no-build-isolation --no-deps --wheel-dir "$directory/built" "$sdist"
"$directory/venv/bin/pip" install --quiet "$directory"/built/baseten_auth-*.whl
is_it "$directory/venv/bin/baseten"
module_works "$directory/venv/bin/python"

# Sourced by ./demo and ./test: says what is missing, and installs it with the system's own package
# manager. Nothing is fetched from anywhere else.
# shellcheck shell=bash

say() {
    printf '%s\n' "$*" >&2
}

fail() {
    say "error: $1"
    shift
    (($# == 0)) || printf '       %s\n' "$@" >&2
    exit 1
}

have() {
    command -v "$1" >/dev/null 2>&1
}

# Runs a command as root: as it is, or through sudo.
as_root() {
    if ((EUID == 0)); then
        "$@"
    elif have sudo; then
        sudo "$@"
    else
        fail "installing packages needs root, and there is no sudo here" "run as root: $*"
    fi
}

# install_packages WHY PACKAGE...: with apt-get or brew, whichever this system has.
install_packages() {
    local why=$1
    shift
    if have apt-get; then
        say "Installing $* ($why)"
        as_root apt-get update -qq
        as_root env DEBIAN_FRONTEND=noninteractive \
            apt-get install -y -qq --no-install-recommends "$@" >/dev/null
    elif have brew; then
        say "Installing $* ($why)"
        brew install --quiet "$@"
    else
        fail "missing: $why" "this script installs with apt-get or brew, and found neither;" \
            "install it your system's way, then run this again"
    fi
}

# package APT BREW: the name that the system at hand knows a thing by.
package() {
    if have apt-get; then echo "$1"; else echo "$2"; fi
}

# The directory of a PostgreSQL program, looked for where the code looks (installation.rs).
postgresql_program() {
    local name=$1 directory
    while read -r directory; do
        if [[ -x $directory/$name ]]; then
            echo "$directory/$name"
            return
        fi
    done < <(
        if have pg_config; then pg_config --bindir; fi
        tr : '\n' <<<"$PATH"
        shopt -s nullglob
        printf '%s\n' /usr/lib/postgresql/*/bin /usr/pgsql-*/bin \
            /opt/homebrew/opt/postgresql@*/bin /usr/local/opt/postgresql@*/bin | sort -rV
    )
    return 1
}

need_postgresql() {
    local name missing=()
    for name in "$@"; do
        postgresql_program "$name" >/dev/null || missing+=("$name")
    done
    ((${#missing[@]})) || return 0
    install_packages "PostgreSQL: ${missing[*]}" "$(package postgresql postgresql@18)"
    for name in "${missing[@]}"; do
        postgresql_program "$name" >/dev/null ||
            fail "PostgreSQL was installed, but without $name" \
                "install the package of your system that contains it, then run this again"
    done
}

need_c_compiler() {
    have cc && return
    if have apt-get; then
        install_packages "a C compiler, for the cryptography" gcc libc6-dev
    else
        fail "missing: a C compiler, for the cryptography" "on macOS: xcode-select --install"
    fi
}

# need_rust WISH: a Rust toolchain, by rustup's official installer if WISH is --install-rust.
need_rust() {
    # shellcheck source=/dev/null
    if ! have cargo && [[ -r $HOME/.cargo/env ]]; then . "$HOME/.cargo/env"; fi
    have cargo && return
    if [[ ${1-} != --install-rust ]]; then
        fail "missing: a Rust toolchain (cargo)" \
            "its official installer is rustup, https://rustup.rs" \
            "to have it run for you: $0 --install-rust"
    fi
    have curl || install_packages "curl, for rustup's installer" curl ca-certificates
    say "Installing Rust with rustup's official installer, https://sh.rustup.rs"
    curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh -s -- -y --profile default
    # shellcheck source=/dev/null
    . "$HOME/.cargo/env"
}

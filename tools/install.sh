# Sourced by ./demo, ./test and benches/versus/run: says what is missing, and installs it with the system's own package
# manager. Nothing is fetched from anywhere else.
#
# Each need_... notes what is missing; install_missing then installs all of it at once.
# shellcheck shell=bash

# Packages, and for each of them a line that says what it is for.
missing=() reasons=()

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

# miss REASON APT BREW: notes a missing package by the name that the system at hand knows it by.
miss() {
    local name=$2
    have apt-get || name=$3
    missing+=("$name")
    reasons+=("$(printf '%-14s %s' "$name" "$1")")
}

install_missing() {
    ((${#missing[@]})) || return 0
    say "Missing here:"
    printf '  %s\n' "${reasons[@]}" >&2
    if have apt-get; then
        install_with_apt
    elif have brew; then
        say "Installing with brew"
        brew install --quiet "${missing[@]}"
    else
        fail "there is neither apt-get nor brew to install this with" \
            "install it your system's way, then run this again"
    fi
    missing=() reasons=()
}

install_with_apt() {
    local by_hand="apt-get update && apt-get install --no-install-recommends ${missing[*]}"
    ((EUID == 0)) || have sudo ||
        fail "installing needs root, and there is no sudo here; as root:" "$by_hand" \
            "then run this again"
    say "Installing with apt-get"
    # shellcheck disable=SC2015 # either of the two may be what failed
    as_root apt-get update -qq &&
        as_root env DEBIAN_FRONTEND=noninteractive DEBCONF_NOWARNINGS=yes \
            apt-get install -y -qq --no-install-recommends "${missing[@]}" </dev/null >/dev/null ||
        fail "apt-get didn't install it; as root:" "$by_hand" "then run this again"
}

# Runs a command as root: as it is, or through sudo.
as_root() {
    if ((EUID == 0)); then "$@"; else sudo "$@"; fi
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

# need_postgresql PROGRAM...
need_postgresql() {
    local name
    for name in "$@"; do
        if ! postgresql_program "$name" >/dev/null; then
            miss "PostgreSQL: $*" postgresql postgresql@18
            return
        fi
    done
}

# need_c_compiler: for aws-lc (the cryptography) and jemalloc (the allocator).
need_c_compiler() {
    if ! have cc; then
        have apt-get || fail "missing: a C compiler, for the cryptography and the allocator" \
            "on macOS: xcode-select --install"
        miss "a C compiler, for the cryptography and the allocator" gcc gcc
        miss "its headers" libc6-dev gcc
    fi
    have make || miss "for the allocator" make make
}

# need_rust WISH: a Rust toolchain, by rustup's official installer if WISH is --install-rust.
need_rust() {
    # shellcheck source=/dev/null
    if ! have cargo && [[ -r $HOME/.cargo/env ]]; then . "$HOME/.cargo/env"; fi
    if ! have cargo; then
        [[ ${1-} == --install-rust ]] ||
            fail "missing: a Rust toolchain (cargo)" \
                "its official installer is rustup, https://rustup.rs" \
                "to have it run for you: $0 --install-rust"
        install_rust
    fi
    local wanted found
    wanted=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)
    found=$(rustc --version | cut -d ' ' -f 2)
    printf '%s\n' "$wanted" "$found" | sort -CV ||
        fail "Rust $wanted or newer is needed, and this is $found" \
            "with rustup: rustup update" \
            "without: https://rustup.rs, for distributions' packages are often too old"
}

install_rust() {
    if ! have curl; then
        miss "for rustup's installer" curl curl
        miss "for rustup's installer" ca-certificates ca-certificates
        install_missing
    fi
    say "Installing Rust with rustup's official installer, https://sh.rustup.rs"
    curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh -s -- -y --profile default
    # shellcheck source=/dev/null
    . "$HOME/.cargo/env"
}

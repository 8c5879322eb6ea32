"""What works straight at the server works through the gate: asyncpg."""

import asyncio
import io
import ssl
import sys

import asyncpg

port, ca, password = int(sys.argv[1]), sys.argv[2], sys.argv[3]


def check(condition, *what):
    if not condition:
        raise SystemExit(f"failed: {what}")


def connect(**options):
    context = ssl.create_default_context(cafile=ca)
    if options.get("direct_tls"):
        context.set_alpn_protocols(["postgresql"])
    return asyncpg.connect(
        host="localhost", port=port, user="alice", password=password, database="app",
        ssl=context, timeout=30, **options)


async def main():
    db = await connect()
    check(await db.fetchval("select $1::int + 1", 41) == 42, "parameters")
    blob = bytes(range(256)) * 4096
    check(await db.fetchval("select $1::bytea", blob) == blob, "a megabyte both ways")

    await db.execute("create temp table t (id int, pad text)")
    rows = [(n, "x" * (n % 300)) for n in range(20_000)]
    await db.copy_records_to_table("t", records=rows)
    out = io.BytesIO()
    await db.copy_from_query("select * from t order by id", output=out)
    check(out.getvalue().count(b"\n") == len(rows), "COPY both ways")

    heard = asyncio.get_running_loop().create_future()
    await db.add_listener("news", lambda *news: heard.set_result(news[3]))
    speaker = await connect()
    await speaker.execute("notify news, 'hello'")
    check(await asyncio.wait_for(heard, 30) == "hello", "LISTEN and NOTIFY")

    # A timeout is a CancelRequest, and the session goes on.
    try:
        await db.execute("select pg_sleep(600)", timeout=0.2)
    except asyncio.TimeoutError:
        pass
    else:
        check(False, "cancel")
    check(await db.fetchval("select 1") == 1, "the session goes on after a cancel")

    many = await asyncio.gather(*(connect() for _ in range(20)))
    check(await asyncio.gather(*(one.fetchval("select 7") for one in many)) == [7] * 20)
    for one in [db, speaker, *many]:
        await one.close()

    direct = await connect(direct_tls=True)
    check(await direct.fetchval("select 1") == 1, "direct TLS")
    await direct.close()


asyncio.run(main())
print("ok")

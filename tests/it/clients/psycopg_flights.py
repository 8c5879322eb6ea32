"""Sessions that stay under way until SIGTERM, with psycopg on libpq 18: of each conninfo one that reads
a long answer (more of it with each SIGUSR1, and all the rest at the end), one that sends rows, and one
that asks again and again. Each is checked from end to end: nothing may be lost."""

import contextlib
import itertools
import signal
import sys

import psycopg

# Rows of 10 kB: more than all the buffers on the way hold.
ROWS, SHARE = 6_000, 300
ANSWER = f"copy (select n, repeat('x', 10000) from generate_series(1, {ROWS}) n) to stdout"

allowed, over = SHARE, False


def more(*_):
    global allowed
    allowed += SHARE


def end(*_):
    global over
    over = True


def check(condition, *what):
    if not condition:
        raise SystemExit(f"failed: {what}")


def flight(conninfo):
    """A round with each step."""
    with contextlib.ExitStack() as stack:
        connect = lambda: stack.enter_context(psycopg.connect(conninfo, autocommit=True))
        reader, writer, asker = connect(), connect(), connect()
        writer.execute("create temp table t (n int, pad text)")
        sent, received = 0, 0
        with reader.cursor().copy(ANSWER) as answer, writer.cursor().copy("copy t from stdin") as rows:
            answer.set_types(["int4", "text"])
            for asked in itertools.count():
                finished = over
                while received < (ROWS if finished else min(allowed, ROWS - SHARE)):
                    received += 1
                    check(answer.read_row() == (received, "x" * 10_000), "row", received)
                sent += 1
                rows.write_row((sent, "y" * 100))
                check(asker.execute("select %s::int + 1", [asked]).fetchone() == (asked + 1,), "an answer")
                if finished:
                    break
                yield
            check(answer.read_row() is None, "more than all rows")
        arrived = writer.execute("select count(*), sum(n), min(length(pad)) from t").fetchone()
        check(arrived == (sent, sent * (sent + 1) // 2, 100), "what arrived", arrived, sent)


signal.signal(signal.SIGUSR1, more)
signal.signal(signal.SIGTERM, end)
flights = [flight(conninfo) for conninfo in sys.argv[1:]]
while flights:
    flights = [one for one in flights if next(one, "landed") != "landed"]
print("ok")

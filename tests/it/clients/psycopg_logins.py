"""Logs in by each conninfo in turn, with psycopg on libpq 18; a line each of what came of it."""

import sys

import psycopg

for conninfo in sys.argv[1:]:
    try:
        with psycopg.connect(conninfo) as db:
            user = db.execute("select current_user").fetchone()[0]
            print("ok" if user == "alice" else f"logged in as {user}")
    except psycopg.Error as error:
        print(" ".join(str(error).split()))

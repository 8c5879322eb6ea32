"""Logs in to each project in turn, with asyncpg; a line each of what came of it."""

import asyncio
import ssl
import sys

import asyncpg

port, ca, certificate, key, password, *projects = sys.argv[1:]


async def login(project):
    context = ssl.create_default_context(cafile=ca)
    context.check_hostname = False
    context.load_cert_chain(certificate, key)
    database = "certified" if project.endswith("-certificate") else "app"
    # An address is no server_name, so the StartupMessage has to name the project.
    db = await asyncpg.connect(
        host="127.0.0.1", port=int(port), user="alice", password=password, database=database,
        ssl=context, timeout=30, server_settings={"options": f"-c portcullis.project={project}"})
    user = await db.fetchval("select current_user")
    await db.close()
    return "ok" if user == "alice" else f"logged in as {user}"


async def main():
    for project in projects:
        try:
            print(await login(project))
        except asyncpg.PostgresError as error:
            print(error)


asyncio.run(main())

// Logs in to each PROJECT/CHANNEL_BINDING in turn, with node-postgres; a line each of what came of it.

const fs = require("node:fs");
const { Client } = require("pg");

const [port, ca, certificate, key, password, ...logins] = process.argv.slice(2);

async function login(project, binding) {
  const client = new Client({
    host: "127.0.0.1",
    port: Number(port),
    user: "alice",
    password,
    database: project.endsWith("-certificate") ? "certified" : "app",
    ssl: {
      ca: fs.readFileSync(ca),
      cert: fs.readFileSync(certificate),
      key: fs.readFileSync(key),
      servername: `${project}.acme.localhost`,
    },
    enableChannelBinding: binding === "prefer",
  });
  client.on("error", () => {});
  try {
    await client.connect();
    const answer = await client.query("select current_user as name");
    await client.end();
    return answer.rows[0].name === "alice" ? "ok" : JSON.stringify(answer.rows);
  } catch (error) {
    return error.message;
  }
}

(async () => {
  for (const one of logins) console.log(await login(...one.split("/")));
})();

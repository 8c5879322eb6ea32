// What works straight at the server works through the gate: node-postgres.

const assert = require("node:assert");
const fs = require("node:fs");
const { Client, Pool } = require("pg");

const [port, ca, password] = process.argv.slice(2);
const options = {
  host: "127.0.0.1",
  port: Number(port),
  user: "alice",
  password,
  database: "app",
  ssl: { ca: fs.readFileSync(ca), servername: "acme.localhost" },
};

async function main() {
  const client = new Client(options);
  await client.connect();
  const sum = await client.query("select $1::int + 1 as sum", [41]);
  assert.deepStrictEqual(sum.rows, [{ sum: 42 }]);
  const many = await client.query("select repeat('x', 60) as x from generate_series(1, 20000)");
  assert.strictEqual(many.rowCount, 20000);
  const blob = Buffer.alloc(1 << 20, "abc");
  const echoed = await client.query("select $1::bytea as blob", [blob]);
  assert.ok(blob.equals(echoed.rows[0].blob));
  await assert.rejects(client.query("select 1/0"), { code: "22012" });

  const heard = new Promise((resolve) => client.on("notification", resolve));
  await client.query("listen news");
  const pool = new Pool({ ...options, max: 10 });
  await pool.query("select pg_notify('news', 'hello')");
  assert.strictEqual((await heard).payload, "hello");
  const answers = await Promise.all(
    Array.from({ length: 50 }, (_, n) => pool.query("select $1::int as n", [n])),
  );
  assert.deepStrictEqual(answers.map((a) => a.rows[0].n), Array.from({ length: 50 }, (_, n) => n));
  await pool.end();
  await client.end();

  const refused = new Client({ ...options, ssl: false });
  await assert.rejects(refused.connect(), { code: "28000" });
  console.log("ok");
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});

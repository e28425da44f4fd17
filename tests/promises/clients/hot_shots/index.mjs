// A function that speaks through hot-shots, in every way that client knows.
import { createRequire } from "node:module";

const require = createRequire(`${process.env.CLIENT_PACKAGES}/node_modules/`);
const StatsD = require("hot-shots");

const failed = error => { if (error) throw error; };
const options = { host: "127.0.0.1", port: 8125, prefix: "hot.", globalTags: { client: "hot-shots" }, errorHandler: failed };
const plain = new StatsD(options);
const sent = send => new Promise((resolve, reject) => send(error => error ? reject(error) : resolve()));

export async function handler(event) {
  await sent(done => plain.increment("orders", 1, { kind: "book" }, done));
  await sent(done => plain.decrement("balance", 2, done));
  await sent(done => plain.gauge("stock", 42.5, done));
  await sent(done => plain.histogram("size", 7, done));
  await sent(done => plain.timing("took", 120, done));
  await sent(done => plain.unique("customer", "Ann", done));
  for (const price of [1, 2, 3]) await sent(done => plain.distribution("price", price, done));
  await sent(done => plain.event("shipped", "to\nwhom it may concern", { alert_type: "success" }, ["kind:book"], done));
  await sent(done => plain.check("up", plain.CHECKS.WARNING, { message: "slow" }, ["kind:book"], done));
  const buffered = new StatsD({ ...options, maxBufferSize: 8000 });
  const all = Array.from({ length: event.orders ?? 0 }, () => sent(done => buffered.increment("orders", 1, { kind: "book" }, done)));
  await Promise.all(all);
  await sent(done => buffered.close(done));
}

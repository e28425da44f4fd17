// The lab's Node function: some logs, two metrics as DogStatsD. The event's `sleep` (seconds), `raise` (message) and `exit` (status) work as in the Python one.
import { createSocket } from "node:dgram";

const statsd = createSocket("udp4");
statsd.unref();
let invocations = 0;

function send(line) {
  return new Promise((resolve) => statsd.send(line, 8125, "127.0.0.1", resolve));
}

export async function handler(event, context) {
  invocations += 1;
  console.log(`hello from Node, invocation ${invocations}`);
  console.error("stock is low");
  console.log(JSON.stringify({ level: "warn", message: "order stored", request: context.awsRequestId }));
  await send("shop.orders:1|c|#kind:book\nshop.price:12.5:8:30|d");
  if (event.sleep) await new Promise((resolve) => setTimeout(resolve, event.sleep * 1000));
  if (event.raise) throw new Error(event.raise);
  if (event.exit !== undefined) process.exit(event.exit);
  return { ok: true, invocations };
}

// The lab's Node function. The event's `sleep` (seconds), `raise` (message) and `exit` (status) work as in the Python one.
let invocations = 0;

export async function handler(event, context) {
  invocations += 1;
  console.log(`hello from Node, invocation ${invocations}`);
  console.error("stock is low");
  console.log(JSON.stringify({ level: "warn", message: "order stored", request: context.awsRequestId }));
  if (event.sleep) await new Promise((resolve) => setTimeout(resolve, event.sleep * 1000));
  if (event.raise) throw new Error(event.raise);
  if (event.exit !== undefined) process.exit(event.exit);
  return { ok: true, invocations };
}

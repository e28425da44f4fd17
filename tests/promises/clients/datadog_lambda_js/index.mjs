// A function that Datadog's library wraps.
import { createRequire } from "node:module";

const require = createRequire(`${process.env.CLIENT_PACKAGES}/node_modules/`);
const { datadog, sendDistributionMetric } = require("datadog-lambda-js");

export const handler = datadog(async event => {
  for (let number = 0; number < (event.orders ?? 0); number++)
    sendDistributionMetric("wrapped.price", number % 100 + 1, "kind:book");
  if (event.fails) throw new Error("as it was told to");
  return { orders: event.orders ?? 0 };
});

// A small Node runtime: node bootstrap.mjs file.export, with the function's directory as working directory.
//
// AWS's own client (npm aws-lambda-ric) compiles a native addon and libcurl when it is installed, which needs
// cmake, autotools and a C++ compiler. This speaks the same Runtime API (2018-06-01) with what Node has.
import http from "node:http";
import { existsSync } from "node:fs";
import { resolve } from "node:path";
import { pathToFileURL } from "node:url";

const [host, port] = process.env.AWS_LAMBDA_RUNTIME_API.split(":");
const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });

function call(method, path, body, headers = {}) {
  return new Promise((resolveCall, reject) => {
    const options = { host, port, agent, method, path: `/2018-06-01/runtime/${path}`, headers };
    if (body !== undefined) headers["content-length"] = Buffer.byteLength(body);
    const request = http.request(options, (answer) => {
      const chunks = [];
      answer.on("data", (chunk) => chunks.push(chunk));
      answer.on("end", () => resolveCall({ headers: answer.headers, body: Buffer.concat(chunks).toString() }));
      answer.on("error", reject);
    });
    request.on("error", reject);
    request.end(body);
  });
}

function report(path, error) {
  const type = error instanceof Error ? error.name : "Error";
  const stackTrace = String(error?.stack ?? "").split("\n").slice(1);
  const body = JSON.stringify({ errorType: type, errorMessage: String(error?.message ?? error), stackTrace });
  return call("POST", path, body, { "lambda-runtime-function-error-type": type });
}

async function load(entry) {
  const [file, name] = entry.split(".");
  const path = ["mjs", "js", "cjs"].map((suffix) => resolve(`${file}.${suffix}`)).find(existsSync);
  if (!path) throw new Error(`no ${file}.mjs, .js or .cjs in ${process.cwd()}`);
  const module = await import(pathToFileURL(path));
  const handler = module[name] ?? module.default?.[name];
  if (typeof handler !== "function") throw new Error(`${path} exports no function ${name}`);
  return handler;
}

function context(headers) {
  const deadline = Number(headers["lambda-runtime-deadline-ms"]);
  return {
    awsRequestId: headers["lambda-runtime-aws-request-id"],
    invokedFunctionArn: headers["lambda-runtime-invoked-function-arn"],
    functionName: process.env.AWS_LAMBDA_FUNCTION_NAME,
    memoryLimitInMB: process.env.AWS_LAMBDA_FUNCTION_MEMORY_SIZE,
    getRemainingTimeInMillis: () => deadline - Date.now(),
  };
}

async function serve(handler) {
  const next = await call("GET", "invocation/next");
  const id = next.headers["lambda-runtime-aws-request-id"];
  process.env._X_AMZN_TRACE_ID = next.headers["lambda-runtime-trace-id"] ?? "";
  try {
    const result = await handler(JSON.parse(next.body || "null"), context(next.headers));
    await call("POST", `invocation/${id}/response`, JSON.stringify(result ?? null));
  } catch (error) {
    console.error(error);
    await report(`invocation/${id}/error`, error);
  }
}

let handler;
try {
  handler = await load(process.argv[2] ?? process.env._HANDLER);
} catch (error) {
  console.error(error);
  await report("init/error", error);
  process.exit(1);
}
for (;;) await serve(handler);

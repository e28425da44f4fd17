// What Lambda is told to run: the handler of Datadog's library, which runs the one that DD_LAMBDA_HANDLER names.
import { pathToFileURL } from "node:url";

const packages = `${process.env.CLIENT_PACKAGES}/node_modules`;
export const { handler } = await import(pathToFileURL(`${packages}/datadog-lambda-js/dist/handler.mjs`));

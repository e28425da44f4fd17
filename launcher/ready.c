#include "ready.h"

#include <string.h>
#include <time.h>

#include "environment.h"
#include "json.h"

#define IDENTIFIER "Lambda-Extension-Identifier"
#define IDENTIFIER_FOLDED "lambda-extension-identifier"
#define JSON "Content-Type: application/json\r\n"

enum {
	ERROR_KEPT = 200,
	SUBSCRIBE_TIMEOUT_S = 5, /* half of what Lambda gives to init */
};

/* FLIPTOP_SUBSCRIBE: docs/cold-start.md has what the order of the two gains and costs. */
static bool overlaps(char *const *environment)
{
	const char *order = environment_get(environment, "FLIPTOP_SUBSCRIBE");

	return order && text_equals_folded(text_trimmed(text_of(order)), "overlap");
}

/* Lambda Managed Instances run many invocations at once, tell extensions of none, and know one schema alone. */
static bool on_managed_instances(char *const *environment)
{
	const char *type = environment_get(environment, "AWS_LAMBDA_INITIALIZATION_TYPE");

	return type && !strcmp(type, "lambda-managed-instances");
}

static const char *call(struct runtime_api *api, const struct request *request, struct http_response *response)
{
	const char *why = runtime_api_ask(api, request);

	return why ? why : runtime_api_answer(api, response, IDENTIFIER_FOLDED);
}

/* "register: HTTP 403 Extension.RegistrationClosed", or, if `why` says that there was no answer, "register: <why>" */
static const char *refusal(const char *what, const char *why, const struct http_response *response)
{
	static char text[ERROR_KEPT + 128];
	struct writer to = WRITER(text);
	struct text type = json_string(response->body, "errorType");

	write_text(&to, what);
	write_text(&to, why ? ": " : ": HTTP ");
	if (why) {
		write_text(&to, why);
	} else {
		write_number(&to, (uint64_t)response->status);
		write_text(&to, " ");
		write_some(&to, type.length ? type : (struct text){response->body, strnlen(response->body, ERROR_KEPT)});
	}
	write_end(&to);
	return text;
}

/* --- register --- */

static const char *register_for(struct ready *ready, const char *name, const char *events)
{
	const struct request request = {"POST /2020-01-01/extension/register", "Lambda-Extension-Name", name,
					"Lambda-Extension-Accept-Feature: accountId\r\n" JSON, events};
	const char *why = call(&ready->api, &request, &ready->registration);

	if (!why && ready->registration.status == 200 && ready->registration.wanted[0])
		return NULL;
	return refusal("register", why, &ready->registration);
}

static const char *register_extension(struct ready *ready, const char *name)
{
	const char *why = register_for(ready, name,
				       ready->managed ? "{\"events\": [\"SHUTDOWN\"]}" : "{\"events\": [\"INVOKE\", \"SHUTDOWN\"]}");

	if (!why || ready->managed || ready->registration.status != 403 ||
	    !text_equals(json_string(ready->registration.body, "errorType"), "Extension.InvalidEventType"))
		return why;
	ready->managed = true; /* so that is what this platform is, whatever the environment says */
	return register_for(ready, name, "{\"events\": [\"SHUTDOWN\"]}");
}

/* --- subscribe --- */

/* Switched off in the environment, logs need not be delivered. A switch in datadog.yaml is honoured by discarding. */
static bool logs_switched_off(char *const *environment)
{
	static const char *const KEYS[] = {"logs_enabled", "serverless_logs_enabled"};
	static const char *const OFF[] = {"false", "0", "0.0", "no", "off", "f", NULL};
	bool off = false;

	for (size_t i = 0; i < sizeof(KEYS) / sizeof(*KEYS); i++) {
		const char *value = environment_get_prefixed(environment, text_of(KEYS[i]));

		if (value && !text_among(text_trimmed(text_of(value)), OFF))
			return false;
		off |= value != NULL;
	}
	return off;
}

static const char *ask_to_subscribe(const struct ready *ready, struct runtime_api *api, bool platform_only)
{
	char body[512];
	struct writer to = WRITER(body);
	const struct request request = {"PUT /2022-07-01/telemetry", IDENTIFIER, ready->registration.wanted, JSON, body};

	write_text(&to, "{\"schemaVersion\": \"");
	write_text(&to, ready->managed ? "2025-01-29" : "2022-12-13");
	write_text(&to, "\", \"types\": [\"platform\"");
	write_text(&to, platform_only ? "" : ", \"function\", \"extension\"");
	/* No invocation waits for telemetry on Managed Instances; and what comes while one batch is still on its way to
	 * an extension that loads, the platform drops there. So it had better be one batch. */
	write_text(&to, "], \"buffering\": {");
	write_text(&to, ready->managed ? "\"maxItems\": 10000, \"maxBytes\": 1048576, \"timeoutMs\": 1000"
				: "\"maxItems\": 1000, \"maxBytes\": 262144, \"timeoutMs\": 25");
	write_text(&to, "}, \"destination\": {\"protocol\": \"HTTP\", \"URI\": \"http://sandbox.localdomain:");
	write_text(&to, ready->listeners.all[TELEMETRY].port);
	write_text(&to, "/\"}}");
	write_end(&to);
	return runtime_api_ask(api, &request);
}

static const char *subscription(struct runtime_api *api, struct http_response *response)
{
	const char *why;

	runtime_api_limit(api, SUBSCRIBE_TIMEOUT_S);
	why = runtime_api_answer(api, response, "");
	runtime_api_limit(api, 0);
	return why;
}

/* Emulators answer 202 or 404, and an extension that takes that for an error cannot be tried out there. */
static void end_subscription(struct ready *ready, const struct start *start, struct runtime_api *api, bool platform_only,
			     const char *why)
{
	struct http_response response = {0};

	if (!why)
		why = subscription(api, &response);
	if (why && api->has_hung_up) {
		/* A server may end a connection that has served without saying so. To subscribe twice is to subscribe. */
		why = ask_to_subscribe(ready, api, platform_only);
		if (!why)
			why = subscription(api, &response);
	}
	if (!why && response.status == 200)
		return;
	tell_no_telemetry(start, refusal("telemetry", why, &response));
	listener_close(&ready->listeners.all[TELEMETRY]);
}

/* --- event/next --- */

const char *ask_for_event(struct ready *ready)
{
	const struct request request = {"GET /2020-01-01/extension/event/next", IDENTIFIER, ready->registration.wanted, "",
					""};

	return runtime_api_ask(&ready->api, &request);
}

/* --- all of it --- */

static void listen_on_ports(struct ready *ready, const struct start *start)
{
	listeners_open(&ready->listeners);
	for (size_t i = 0; i < LISTENER_COUNT; i++)
		if (ready->listeners.all[i].error)
			tell_cannot_listen(start, &ready->listeners.all[i]);
}

static void mark(struct ready *ready, enum phase phase, const struct start *start)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	ready->reached_ns[phase] = (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec - start->started_ns;
}

static bool ask_first(struct ready *ready, const struct start *start)
{
	const char *why = ask_for_event(ready);

	mark(ready, ASKED, start);
	if (why)
		tell_cannot_register(start, ready->api.address, refusal("event/next", why, &ready->registration));
	return !why;
}

/* Both wait for nothing: the answer to each comes on a connection of its own. */
static bool subscribe_beside(struct ready *ready, const struct start *start, bool platform_only)
{
	struct runtime_api beside = ready->api;
	const char *why;
	bool asked;

	beside.socket = -1;
	why = ask_to_subscribe(ready, &beside, platform_only);
	asked = ask_first(ready, start);
	end_subscription(ready, start, &beside, platform_only, why);
	runtime_api_close(&beside);
	mark(ready, SUBSCRIBED, start);
	return asked;
}

static void subscribe(struct ready *ready, const struct start *start, bool platform_only)
{
	const char *why = ask_to_subscribe(ready, &ready->api, platform_only);

	end_subscription(ready, start, &ready->api, platform_only, why);
	mark(ready, SUBSCRIBED, start);
}

bool become_ready(struct ready *ready, const struct start *start, char *const *environment, enum asking asking)
{
	bool platform_only = logs_switched_off(environment);
	const char *why;

	ready->managed = on_managed_instances(environment);
	listen_on_ports(ready, start);
	mark(ready, LISTENING, start);
	why = register_extension(ready, start->layer.name);
	mark(ready, REGISTERED, start);
	if (why) {
		tell_cannot_register(start, ready->api.address, why);
		return false;
	}
	if (ready->listeners.all[TELEMETRY].socket >= 0) {
		if (asking == ASK_AT_ONCE && overlaps(environment))
			return subscribe_beside(ready, start, platform_only);
		subscribe(ready, start, platform_only);
	}
	return asking == ASK_LATER || ask_first(ready, start);
}

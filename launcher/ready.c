#include "ready.h"

#include <string.h>
#include <time.h>

#include "environment.h"
#include "json.h"

#define IDENTIFIER "Lambda-Extension-Identifier"
#define IDENTIFIER_FOLDED "lambda-extension-identifier"
#define JSON "Content-Type: application/json\r\n"

enum { FIRST_PAUSE_MS = 50, LONGEST_PAUSE_MS = 2000, ERROR_KEPT = 200 };

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

static const char *register_extension(struct ready *ready, const char *name, bool *managed)
{
	const char *why = register_for(ready, name,
				       *managed ? "{\"events\": [\"SHUTDOWN\"]}" : "{\"events\": [\"INVOKE\", \"SHUTDOWN\"]}");

	if (!why || *managed || ready->registration.status != 403 ||
	    !text_equals(json_string(ready->registration.body, "errorType"), "Extension.InvalidEventType"))
		return why;
	*managed = true; /* so that is what this platform is, whatever the environment says */
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

static const char *subscribe(struct ready *ready, bool managed, bool platform_only)
{
	char body[512];
	struct writer to = WRITER(body);
	const struct request request = {"PUT /2022-07-01/telemetry", IDENTIFIER, ready->registration.wanted, JSON, body};
	struct http_response response = {0};
	const char *why;

	write_text(&to, "{\"schemaVersion\": \"");
	write_text(&to, managed ? "2025-01-29" : "2022-12-13");
	write_text(&to, "\", \"types\": [\"platform\"");
	write_text(&to, platform_only ? "" : ", \"function\", \"extension\"");
	write_text(&to, "], \"buffering\": {\"maxItems\": 1000, \"maxBytes\": 262144, \"timeoutMs\": 25}, "
			"\"destination\": {\"protocol\": \"HTTP\", \"URI\": \"http://sandbox.localdomain:");
	write_text(&to, ready->listeners.all[TELEMETRY].port);
	write_text(&to, "/\"}}");
	write_end(&to);
	why = call(&ready->api, &request, &response);
	/* Emulators answer 202 or 404, and an extension that takes that for an error cannot be tried out there. */
	return !why && response.status == 200 ? NULL : refusal("telemetry", why, &response);
}

/* --- event/next --- */

static const char *ask_for_event(struct ready *ready)
{
	const struct request request = {"GET /2020-01-01/extension/event/next", IDENTIFIER, ready->registration.wanted, "",
					""};

	return runtime_api_ask(&ready->api, &request);
}

static void pause_for(unsigned milliseconds)
{
	const struct timespec pause = {milliseconds / 1000, milliseconds % 1000 * 1000000L};

	nanosleep(&pause, NULL);
}

static unsigned longer(unsigned pause)
{
	return !pause ? FIRST_PAUSE_MS : pause * 2 < LONGEST_PAUSE_MS ? pause * 2 : LONGEST_PAUSE_MS;
}

void ask_until_shutdown(struct ready *ready)
{
	struct http_response event = {0};
	unsigned pause = FIRST_PAUSE_MS;

	for (;;) {
		const char *why = runtime_api_answer(&ready->api, &event, "");
		struct text type = json_string(event.body, "eventType");

		if (!why && event.status == 200 && text_equals(type, "SHUTDOWN"))
			return;
		if (!why && event.status == 200 && text_equals(type, "INVOKE"))
			pause = 0;
		do {
			if (pause)
				runtime_api_close(&ready->api);
			pause_for(pause);
			pause = longer(pause);
		} while (ask_for_event(ready));
	}
}

/* --- all of it --- */

static void listen_on_ports(struct ready *ready, const struct start *start)
{
	listeners_open(&ready->listeners);
	for (size_t i = 0; i < ready->listeners.count; i++) {
		const struct listener *listener = &ready->listeners.all[i];

		if (listener->error)
			tell_cannot_listen(start, listener->port, listener->name, listener->error);
	}
}

bool become_ready(struct ready *ready, const struct start *start, char *const *environment)
{
	struct listener *telemetry = &ready->listeners.all[TELEMETRY];
	bool managed = on_managed_instances(environment);
	const char *why;

	listen_on_ports(ready, start);
	why = register_extension(ready, start->layer.name, &managed);
	if (!why && telemetry->socket >= 0) {
		const char *refused = subscribe(ready, managed, logs_switched_off(environment));

		if (refused) {
			tell_no_telemetry(start, refused);
			listener_close(telemetry);
		}
	}
	if (!why) {
		why = ask_for_event(ready);
		why = why ? refusal("event/next", why, &ready->registration) : NULL;
	}
	if (why)
		tell_cannot_register(start, ready->api.address, why);
	return !why;
}

#include "handover.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "environment.h"

/* The launcher's variables, each with its equals sign. What an earlier program left under these names does not count. */
static const char *const NAMES[] = {
	"FLIPTOP_LAYER=", "FLIPTOP_NAME=", "FLIPTOP_STARTED_NS=", "FLIPTOP_REGISTRATION=", "FLIPTOP_REGISTRATION_BODY=",
	"FLIPTOP_PHASES=", "LISTEN_FDS=", "LISTEN_PID=", "LISTEN_FDNAMES=",
};

enum { NAME_COUNT = sizeof(NAMES) / sizeof(*NAMES), TEXTS_SIZE = PATH_SIZE + HTTP_BODY_KEPT + 2048 };

/* An environment of any size with the variables at its end; `list` is NULL if there is no memory for it. */
struct variables {
	char **list;
	size_t count;
	struct writer to;
	char texts[TEXTS_SIZE];
};

/* Once the first event is asked for, init may end, and with it the CPU that init has. With less memory than this, an
 * extension that loads afterwards keeps the first invocation's environment busy for seconds. */
enum { LEAST_MEMORY_MB = 512 };

static bool has_cpu_to_spare(char *const *environment)
{
	const char *digit = environment_get(environment, "AWS_LAMBDA_FUNCTION_MEMORY_SIZE");
	unsigned megabytes = 0;

	if (!digit || !*digit)
		return true; /* not on Lambda */
	for (; *digit >= '0' && *digit <= '9' && megabytes < LEAST_MEMORY_MB; digit++)
		megabytes = megabytes * 10 + (unsigned)(*digit - '0');
	return megabytes >= LEAST_MEMORY_MB;
}

static bool wants(char *const *environment, const char *word)
{
	const char *variable = environment_get(environment, "FLIPTOP_HANDOVER");

	return text_equals_folded(text_trimmed(text_of(variable ? variable : "")), word);
}

bool hands_over(struct runtime_api *api, char *const *environment)
{
	return !wants(environment, "off") && runtime_api_find(api, environment);
}

/* Tracers that leave the invocation's span to the extension ask it, before the function's code runs, which trace to go on
 * with, and would wait while it loads: those behind the wrapper, and Go's if it is told to. */
static bool is_asked_for_traces(char *const *environment)
{
	static const char *const TRUE[] = {"true", "t", "1", NULL};
	const char *wrapper = environment_get(environment, "AWS_LAMBDA_EXEC_WRAPPER");
	const char *told = environment_get(environment, "DD_UNIVERSAL_INSTRUMENTATION");

	return (wrapper && !strcmp(wrapper, "/opt/datadog_wrapper")) ||
	       (told && text_among(text_trimmed(text_of(told)), TRUE));
}

enum asking first_asking(char *const *environment)
{
	if (wants(environment, "on"))
		return ASK_AT_ONCE;
	if (wants(environment, "loaded"))
		return ASK_LATER;
	return has_cpu_to_spare(environment) && !is_asked_for_traces(environment) ? ASK_AT_ONCE : ASK_LATER;
}

/* --- the environment --- */

static bool is_ours(const char *entry)
{
	for (size_t i = 0; i < NAME_COUNT; i++)
		if (!strncmp(entry, NAMES[i], strlen(NAMES[i])))
			return true;
	return false;
}

static void copy_theirs(struct variables *variables, char *const *environment)
{
	size_t count = 0, size;

	while (environment[count])
		count++;
	size = (count + NAME_COUNT + 1) * sizeof(*variables->list);
	variables->list = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (variables->list == MAP_FAILED)
		variables->list = NULL;
	for (size_t i = 0; variables->list && i < count; i++)
		if (!is_ours(environment[i]))
			variables->list[variables->count++] = environment[i];
}

static void add(struct variables *variables, const char *name, const char *value)
{
	variables->list[variables->count++] = variables->to.at;
	write_text(&variables->to, name);
	write_text(&variables->to, value);
	write_end(&variables->to);
	if (variables->to.at < variables->to.end)
		variables->to.at++;
}

static void add_number(struct variables *variables, const char *name, uint64_t number)
{
	char digits[24];
	struct writer to = WRITER(digits);

	write_number(&to, number);
	write_end(&to);
	add(variables, name, digits);
}

static void add_known(struct variables *variables, const struct start *start)
{
	add(variables, "FLIPTOP_LAYER=", start->layer.root);
	add(variables, "FLIPTOP_NAME=", start->layer.name);
	add_number(variables, "FLIPTOP_STARTED_NS=", start->started_ns);
}

/* --- the sockets --- */

/* In the order of their names: the listeners that are open, the books, the connection. */
struct inheritance {
	int sockets[MOST_INHERITED];
	size_t count;
	char names[128];
	struct writer to;
};

static void pass_on(struct inheritance *inheritance, const char *name, int socket_)
{
	write_text(&inheritance->to, inheritance->count ? ":" : "");
	write_text(&inheritance->to, name);
	inheritance->sockets[inheritance->count++] = socket_;
}

static void inherit(struct inheritance *inheritance, const struct handover *handover)
{
	const struct listeners *listeners = &handover->ready->listeners;

	inheritance->to = (struct writer)WRITER(inheritance->names);
	for (size_t i = 0; i < LISTENER_COUNT; i++)
		if (listeners->all[i].socket >= 0)
			pass_on(inheritance, listeners->all[i].name, listeners->all[i].socket);
	if (handover->books >= 0)
		pass_on(inheritance, "books", handover->books);
	pass_on(inheritance, handover->name, handover->connection);
	write_end(&inheritance->to);
}

/* "decided=52,listening=80,…": microseconds since the launcher's entry */
static void add_phases(struct variables *variables, const struct start *start, const struct ready *ready)
{
	static const char *const PHASES[PHASE_COUNT] = {",listening=", ",register_ready=", ",telemetry_subscribed=",
							",next_asked="};
	char phases[160];
	struct writer to = WRITER(phases);

	write_text(&to, "decided=");
	write_number(&to, start->decision.took_ns / 1000);
	for (size_t i = 0; i < PHASE_COUNT; i++)
		if (ready->reached_ns[i]) {
			write_text(&to, PHASES[i]);
			write_number(&to, ready->reached_ns[i] / 1000);
		}
	write_end(&to);
	add(variables, "FLIPTOP_PHASES=", phases);
}

static void add_ready(struct variables *variables, const struct inheritance *inheritance, const struct ready *ready)
{
	const struct http_response *registration = &ready->registration;

	add_number(variables, "LISTEN_FDS=", inheritance->count);
	add_number(variables, "LISTEN_PID=", (uint64_t)getpid());
	add(variables, "LISTEN_FDNAMES=", inheritance->names);
	add(variables, "FLIPTOP_REGISTRATION=", registration->wanted);
	/* Half of it would be of no use. */
	if (strlen(registration->body) == registration->body_length)
		add(variables, "FLIPTOP_REGISTRATION_BODY=", registration->body);
}

int execute_extension(const struct start *start, const struct handover *handover, char *const *environment)
{
	char *arguments[] = {(char *)start->layer.extension, NULL};
	struct inheritance inheritance = {.count = 0};
	struct variables variables = {.count = 0};
	int error;

	variables.to = (struct writer)WRITER(variables.texts);
	copy_theirs(&variables, environment);
	if (!variables.list)
		return ENOMEM;
	add_known(&variables, start);
	if (handover) {
		inherit(&inheritance, handover);
		add_ready(&variables, &inheritance, handover->ready);
		add_phases(&variables, start, handover->ready);
	}
	if (inherit_sockets(inheritance.sockets, inheritance.count))
		return errno;
	execve(start->layer.extension, arguments, variables.list);
	error = errno;
	close_inherited(inheritance.count);
	return error;
}

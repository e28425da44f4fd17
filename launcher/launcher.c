/* Lambda starts this file as the extension. It looks at the configuration, decides whether the new extension or the
 * packaged legacy one serves it, tells why if it is the latter, and becomes that program. README.md has the outcomes. */

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "count.h"
#include "decide.h"
#include "environment.h"
#include "explain.h"
#include "layer.h"
#include "tell.h"
#include "version.h"

static const char USAGE[] = "usage: datadog-agent [--explain [--json] | --version]\n"
			    "Without arguments: start the extension, as Lambda does.\n";

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* --- decide --- */

static void add_reason(struct start *start, enum reason reason)
{
	start->decision.reasons |= UINT32_C(1) << reason;
}

static void keep_unsure(struct decision *decision, const char *what, const char *detail)
{
	struct writer to = WRITER(decision->unsure);

	write_text(&to, what);
	write_text(&to, detail);
	write_end(&to);
}

static void decide(struct start *start)
{
	struct decision *decision = &start->decision;

	layer_find(&start->layer);
	config_read(&start->config, environ);
	decide_configuration(decision, environ, start->config.text);
	if (start->config.error)
		keep_unsure(decision, "unreadable: ", error_text(start->config.error));
	else if (start->config.too_long)
		keep_unsure(decision, "larger than 1 MiB", "");
	if (layer_needs_newer_libc(&start->layer))
		add_reason(start, REASON_LIBC);
	if (start->layer.extension_error)
		add_reason(start, REASON_EXTENSION_MISSING);
	decision->took_ns = now_ns() - start->started_ns;
}

/* --- become the legacy extension --- */

static void count_once(struct start *start)
{
	if (!start->counted)
		count_fallback(first_reason(&start->decision), environ);
	start->counted = true;
}

/* Returns only if it fails; legacy_error then says why. */
static void become_legacy(struct start *start)
{
	char *arguments[] = {start->layer.legacy, NULL};

	tell_fallback(start);
	count_once(start);
	execve(start->layer.legacy, arguments, environ);
	start->layer.legacy_error = errno;
}

/* --- become the new extension --- */

/* One of the variables that tell the extension what is known; the text lives as long as the process. */
struct handover {
	char started[64];
	char unsure[128];
	char layer[PATH_SIZE + 16];
	char name[300];
};

static char *set(char *buffer, size_t size, const char *name, const char *value)
{
	struct writer to = {buffer, buffer + size - 1};

	write_text(&to, name);
	write_text(&to, value);
	write_end(&to);
	return buffer;
}

static char *set_number(char *buffer, size_t size, const char *name, uint64_t number)
{
	char digits[24];
	struct writer to = WRITER(digits);

	write_number(&to, number);
	write_end(&to);
	return set(buffer, size, name, digits);
}

/* A value left over from elsewhere would be found before the launcher's own. */
static bool is_handover(const char *entry)
{
	static const char *const NAMES[] = {"FLIPTOP_SCAN=", "FLIPTOP_UNSURE=", "FLIPTOP_LAYER=", "FLIPTOP_NAME=",
					    "FLIPTOP_STARTED_NS="};

	for (size_t i = 0; i < sizeof(NAMES) / sizeof(*NAMES); i++)
		if (!strncmp(entry, NAMES[i], strlen(NAMES[i])))
			return true;
	return false;
}

/* An environment of any size, plus the handover. NULL if there is no memory for the list. */
static char **extended_environment(const struct start *start, struct handover *texts)
{
	size_t count = 0, used = 0;
	char **list;

	while (environ[count])
		count++;
	list = mmap(NULL, (count + 6) * sizeof(*list), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (list == MAP_FAILED)
		return NULL;
	for (size_t i = 0; i < count; i++)
		if (!is_handover(environ[i]))
			list[used++] = environ[i];
	list[used++] = start->decision.unsure[0] ? "FLIPTOP_SCAN=unsure" : "FLIPTOP_SCAN=sure";
	if (start->decision.unsure[0])
		list[used++] = set(texts->unsure, sizeof(texts->unsure), "FLIPTOP_UNSURE=", start->decision.unsure);
	list[used++] = set(texts->layer, sizeof(texts->layer), "FLIPTOP_LAYER=", start->layer.root);
	list[used++] = set(texts->name, sizeof(texts->name), "FLIPTOP_NAME=", start->layer.name);
	list[used] = set_number(texts->started, sizeof(texts->started), "FLIPTOP_STARTED_NS=", start->started_ns);
	return list;
}

/* Returns only if it fails; extension_error then says why. */
static void become_next(struct start *start)
{
	char *arguments[] = {start->layer.extension, NULL};
	struct handover texts;
	char **environment = extended_environment(start, &texts);

	/* Without the handover the extension finds all of it out by itself, as when it is started without a launcher. */
	execve(start->layer.extension, arguments, environment ? environment : environ);
	start->layer.extension_error = errno;
}

/* --- */

static bool can_start_legacy(const struct start *start)
{
	return !start->layer.legacy_error;
}

static bool can_start_next(const struct start *start)
{
	return !start->layer.extension_error;
}

/* Whatever of the two can run, does; the wrong one of them is better than Extension.Crash. */
static int become_extension(struct start *start)
{
	if (start->config.error)
		tell_unreadable(start);
	if (start->decision.reasons && can_start_legacy(start))
		become_legacy(start);
	if (start->decision.reasons && can_start_next(start)) {
		tell_unavailable(start);
		count_once(start);
	}
	if (can_start_next(start)) {
		become_next(start);
		if (can_start_legacy(start)) {
			add_reason(start, REASON_EXTENSION_MISSING);
			become_legacy(start);
		}
	}
	/* Any end of an extension fails the function's start, but so would a process that stays and never registers, ten
	 * seconds later and without a word. A layer that lacks both programs should fail where it is deployed. */
	tell_cannot_start(start);
	return 1;
}

/* The extension calls back: a real parser has settled what the scan left open, and these are the reasons it found. */
static int settled(struct start *start, char *const *reasons)
{
	decide(start);
	for (; *reasons; reasons++)
		for (unsigned n = 0; n < REASON_COUNT; n++)
			if (!strcmp(*reasons, REASONS[n].name))
				add_reason(start, (enum reason)n);
	start->decision.unsure[0] = '\0';
	start->config.error = 0; /* told the first time */
	return become_extension(start);
}

static int answer(struct start *start, int argc, char **argv)
{
	bool json = argc == 3 && !strcmp(argv[2], "--json");

	if (argc > 2 && !strcmp(argv[1], "--settled"))
		return settled(start, argv + 2);
	if (argc == 2 && !strcmp(argv[1], "--version")) {
		say(VERSION "\n", strlen(VERSION "\n"));
	} else if (!strcmp(argv[1], "--explain") && (argc == 2 || json)) {
		decide(start);
		explain(start, json);
	} else {
		say(USAGE, strlen(USAGE));
		return 2;
	}
	return 0;
}

int main(int argc, char **argv)
{
	static struct start start;

	start.started_ns = now_ns();
	if (argc > 1)
		return answer(&start, argc, argv);
	decide(&start);
	return become_extension(&start);
}

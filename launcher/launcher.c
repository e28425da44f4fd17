/* Lambda starts this file as the extension. It looks at the configuration, decides whether the new extension or the
 * packaged legacy one serves it, tells why if it is the latter, and becomes that program. Before it becomes the new one it
 * does all that Lambda waits for. README.md has the outcomes. */

#include <errno.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "count.h"
#include "decide.h"
#include "explain.h"
#include "guard.h"
#include "handover.h"
#include "layer.h"
#include "settle.h"
#include "tell.h"

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

/* Can the new extension be started here at all? */
static void decide_machine(struct start *start)
{
	const struct layer *layer = &start->layer;

	if (layer_needs_newer_libc(layer))
		add_reason(start, REASON_LIBC);
	else if (layer_lacks_loader(layer))
		add_reason(start, REASON_LOADER);
	if (layer->extension_error)
		add_reason(start, layer->program.is_foreign ? REASON_ARCHITECTURE : REASON_EXTENSION_MISSING);
	else if (verdict_find(layer, start->died))
		add_reason(start, REASON_FAILED_TO_START);
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
	decide_machine(start);
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

/* Registered, there is no way back to the legacy extension, and any end of this process would fail the function. */
static void become_ready_and_next(struct start *start, struct ready *ready)
{
	struct handover handover = {ready, "next", -1, -1};
	bool guarded = is_guarded(environ);

	if (!become_ready(ready, start, environ, guarded ? first_asking(environ) : ASK_AT_ONCE))
		_exit(1); /* as the extension would, which cannot register either */
	if (guarded)
		_exit(stand_guard(start, ready, environ));
	handover.connection = ready->api.socket;
	_exit(stand_alone(start, ready, execute_extension(start, &handover, environ)));
}

/* Returns only if it fails with nothing registered; extension_error then says why. */
static void become_next(struct start *start)
{
	static struct ready ready;

	/* Without a guard, nobody could answer for an extension that loads on a small share of a core. */
	if (hands_over(&ready.api, environ) && (is_guarded(environ) || first_asking(environ) == ASK_AT_ONCE))
		become_ready_and_next(start, &ready);
	start->layer.extension_error = execute_extension(start, NULL, environ);
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

/* The scan has left something open, and legacy can still be chosen. One that cannot even read a file will not serve. */
static void settle_first(struct start *start)
{
	if (settle(start, environ) || !can_start_legacy(start))
		start->decision.unsure[0] = '\0';
	else
		add_reason(start, REASON_FAILED_TO_START);
}

/* Whatever of the two can run, does; the wrong one of them is better than Extension.Crash. */
static int become_extension(struct start *start)
{
	if (start->config.error)
		tell_unreadable(start);
	if (start->decision.unsure[0] && can_start_next(start) && !(start->decision.reasons && can_start_legacy(start)))
		settle_first(start);
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

static int answer(struct start *start, int argc, char **argv)
{
	bool json = argc == 3 && !strcmp(argv[2], "--json");

	if (argc == 2 && !strcmp(argv[1], "--version")) {
		layer_find(&start->layer);
		explain_version(&start->layer);
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

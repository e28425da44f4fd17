/* What people are told: single lines of JSON on stdout. */
#ifndef FLIPTOP_TELL_H
#define FLIPTOP_TELL_H

#include "books.h"
#include "decide.h"
#include "layer.h"
#include "listeners.h"
#include "verdict.h"

/* Everything known about this start. */
struct start {
	uint64_t started_ns; /* CLOCK_MONOTONIC at entry */
	struct layer layer;
	struct config config;
	struct decision decision;
	char died[VERDICT_CAUSE_SIZE]; /* how the new extension has ended here before; empty: it has not */
	bool counted; /* the counter has been sent */
};

/* The legacy extension is started, for the first of the reasons. */
void tell_fallback(const struct start *start);

/* There are reasons for the legacy extension, but it cannot be started: the new one is. */
void tell_unavailable(const struct start *start);

/* datadog.yaml exists and cannot be read. */
void tell_unreadable(const struct start *start);

/* Neither extension can be started. */
void tell_cannot_start(const struct start *start);

/* The new extension runs without this listener. */
void tell_cannot_listen(const struct start *start, const struct listener *listener);

/* The new extension runs without telemetry, and that is why. */
void tell_no_telemetry(const struct start *start, const char *why);

/* The platform does not let the extension become ready, and that is why. */
void tell_cannot_register(const struct start *start, const char *address, const char *why);

/* The new extension is registered and cannot be executed: the launcher itself asks for events until SHUTDOWN. */
void tell_alone(const struct start *start, int error);

/* The same, or it has died so often before it could serve: after a registration, nobody can take its place. `is_kept`
 * says that the next start will know it. */
void tell_too_late(const struct start *start, const char *cause, bool is_kept);

/* How an extension's process ended. */
struct death {
	int signal; /* 0: none */
	int exit_code;
	bool is_hung;	  /* it was killed, because its loop had not turned for long */
	int unborn_error; /* why there could be no process; 0: there was one */
	enum { LOADING, WAITING, SERVING } phase;
};

/* The name of what ended it: "SIGSEGV", "exit 1", "hang", "fork". */
void write_cause(struct writer *to, const struct death *death);

/* The extension died. `books` may be NULL. */
void tell_death(const struct start *start, const struct death *death, unsigned deaths, bool was_last,
		const volatile struct books *books);

/* The launcher has asked for the next event in the place of an extension that works, or that is still loading. */
void tell_late(const struct start *start, bool has_loaded);

/* --- what such lines are made of --- */

enum { LINE_SIZE = 5 * PATH_SIZE };

void write_microseconds(struct writer *to, uint64_t ns);
void write_reasons(struct writer *to, uint32_t reasons);
void write_detail(struct writer *to, const struct start *start); /* what a reason leaves open; often nothing */
void write_common(struct writer *to, const struct start *start); /* what every line ends with */
void say_line(struct writer *to, const char *line);

/* Write all of it to stdout, if that can still be done; one that is closed, or that nobody reads, is no reason to fail. */
void say(const char *bytes, size_t length);

/* Name of the first reason. There must be one. */
const char *first_reason(const struct decision *decision);

#endif

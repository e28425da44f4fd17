/* What people are told: single lines of JSON on stdout, and the answer to --explain. */
#ifndef FLIPTOP_TELL_H
#define FLIPTOP_TELL_H

#include "decide.h"
#include "layer.h"

/* Everything known about this start. */
struct start {
	uint64_t started_ns; /* CLOCK_MONOTONIC at entry */
	struct layer layer;
	struct config config;
	struct decision decision;
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

/* Answer --explain, for people or as one line of JSON. */
void explain(const struct start *start, bool json);

/* Write all of it to stdout, if that can still be done; a closed stdout is no reason to fail. */
void say(const char *bytes, size_t length);

/* Name of the first reason. There must be one. */
const char *first_reason(const struct decision *decision);

#endif

/* Ready before the extension has started: listen, register, subscribe to telemetry, ask for the first event. */
#ifndef FLIPTOP_READY_H
#define FLIPTOP_READY_H

#include "listeners.h"
#include "runtime_api.h"
#include "tell.h"

/* All that a ready extension holds. */
struct ready {
	struct runtime_api api; /* with the answer to /event/next pending */
	struct listeners listeners;
	struct http_response registration; /* the answer to register; `wanted` is the extension's identifier */
};

/* Do all that Lambda waits for, with `ready->api` found before. False, and told, if the platform does not let the
 * extension register or ask for events. A port in use or a refused subscription is told too, and costs only its part.
 *
 * What is asked for, and what each answer means, is the same in src/fliptop/platform/ready.py. */
bool become_ready(struct ready *ready, const struct start *start, char *const *environment);

/* Ask for events until SHUTDOWN and do nothing else: what an environment needs of an extension that cannot run. */
void ask_until_shutdown(struct ready *ready);

#endif

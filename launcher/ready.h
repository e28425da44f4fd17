/* Ready before the extension has started: listen, register, subscribe to telemetry, ask for the first event. */
#ifndef FLIPTOP_READY_H
#define FLIPTOP_READY_H

#include "listeners.h"
#include "runtime_api.h"
#include "tell.h"

/* What is done, in this order unless the first event is asked for while the subscription is pending, or later. */
enum phase { LISTENING, REGISTERED, SUBSCRIBED, ASKED, PHASE_COUNT };

enum asking { ASK_AT_ONCE, ASK_LATER };

/* All that a ready extension holds. */
struct ready {
	struct runtime_api api; /* with the answer to /event/next pending, once that has been asked */
	struct listeners listeners;
	struct http_response registration; /* the answer to register; `wanted` is the extension's identifier */
	uint64_t reached_ns[PHASE_COUNT];  /* since the launcher's entry; 0: not yet */
	bool managed;			   /* it is Managed Instances: many invocations at once, and no event but SHUTDOWN */
};

/* Do all that Lambda waits for, with `ready->api` found before; all but the last of it with ASK_LATER. False, and told,
 * if the platform does not let the extension register or ask for events. A port in use or a refused subscription is told
 * too, and costs only its part.
 *
 * What is asked for, and what each answer means, is the same in src/fliptop/platform/ready.py. */
bool become_ready(struct ready *ready, const struct start *start, char *const *environment, enum asking asking);

/* Ask for the next event, and leave the answer pending. NULL, or why it failed. */
const char *ask_for_event(struct ready *ready);

#endif

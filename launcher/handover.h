/* What the extension is given: an environment, and the sockets. README.md lists the variables. */
#ifndef FLIPTOP_HANDOVER_H
#define FLIPTOP_HANDOVER_H

#include "ready.h"

/* Shall the launcher become ready before the extension? Not if FLIPTOP_HANDOVER is off, nor if the address of the Runtime
 * API is not one that `api` can take. */
bool hands_over(struct runtime_api *api, char *const *environment);

/* Shall the first event be asked for before the extension has loaded? */
enum asking first_asking(char *const *environment);

/* All that a ready launcher hands over. */
struct handover {
	const struct ready *ready;
	const char *name; /* of `connection`: "guard", or "next" with the answer to /event/next pending */
	int connection;
	int books; /* -1: none */
};

/* Become the extension. `handover` is NULL if nothing has been done for it yet. Returns only if it fails, with errno. */
int execute_extension(const struct start *start, const struct handover *handover, char *const *environment);

#endif

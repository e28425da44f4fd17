/* What the extension is given: an environment, and the sockets. README.md lists the variables. */
#ifndef FLIPTOP_HANDOVER_H
#define FLIPTOP_HANDOVER_H

#include "ready.h"

/* Shall the launcher become ready before the extension? Not if FLIPTOP_HANDOVER is off, nor, unless it is on, on a function
 * so small that nobody would answer the first event in time; nor while datadog.yaml may still send this start to the legacy
 * extension, nor if the address of the Runtime API is not one that `api` can take. */
bool hands_over(const struct start *start, struct runtime_api *api, char *const *environment);

/* Become the extension. `ready` is NULL if nothing has been done for it yet. Returns only if it fails, with errno. */
int execute_extension(const struct start *start, const struct ready *ready, char *const *environment);

#endif

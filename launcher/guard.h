/* The process that Lambda watches: it speaks with the platform, and the extension is its child. */
#ifndef FLIPTOP_GUARD_H
#define FLIPTOP_GUARD_H

#include "ready.h"

/* Is there to be a guard? Not if FLIPTOP_GUARD is off. */
bool is_guarded(char *const *environment);

/* Start the extension and pass every event on to it; ask for the next one when it does, when it is late, or when it has
 * died, and start it again then. Returns after SHUTDOWN, with the exit code. README.md has the rules. */
int stand_guard(const struct start *start, struct ready *ready, char *const *environment);

/* Without an extension: ask for events until SHUTDOWN and do nothing else. `error` is why it cannot be executed. */
int stand_alone(const struct start *start, struct ready *ready, int error);

#endif

/* DogStatsD counters for what happens outside of the extension's sight. Each is sent once to whichever extension listens on
 * the port within the next ten seconds. Both return at once, and leave no child. */
#ifndef FLIPTOP_COUNT_H
#define FLIPTOP_COUNT_H

#include "tell.h"

/* fliptop.fallback: a start goes to the legacy extension. */
void count_fallback(const char *reason, char *const *environment);

/* fliptop.extension.deaths: `deaths` so far, the last of them of this cause. */
void count_deaths_of_extension(unsigned deaths, const struct death *last, char *const *environment);

#endif

/* One DogStatsD counter per start that falls back. */
#ifndef FLIPTOP_COUNT_H
#define FLIPTOP_COUNT_H

/* Send fliptop.fallback once to whichever extension listens on the DogStatsD port within the next ten seconds. Returns at
 * once: the process that becomes the extension has no child of which it does not know. */
void count_fallback(const char *reason, char *const *environment);

#endif

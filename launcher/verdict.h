/* What is kept in /tmp of an extension that cannot be started here. Lambda keeps /tmp, and nothing else, when it initialises
 * an environment again: that start need not fail once more. */
#ifndef FLIPTOP_VERDICT_H
#define FLIPTOP_VERDICT_H

#include "layer.h"

enum { VERDICT_CAUSE_SIZE = 64 };

/* Has this very file, in an earlier start, died before it could serve? `cause` says how. /tmp is the function's: whatever
 * is there, looking costs next to nothing, waits for nothing, and the worst that comes of it is the legacy extension. */
bool verdict_find(const struct layer *layer, char cause[VERDICT_CAUSE_SIZE]);

/* Keep it. False, and nothing else, if that cannot be done. */
bool verdict_keep(const struct layer *layer, const char *cause);

#endif

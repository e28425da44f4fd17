/* What the launcher's scan has left open, settled by the extension's own parser while legacy can still be chosen. */
#ifndef FLIPTOP_SETTLE_H
#define FLIPTOP_SETTLE_H

#include "tell.h"

/* Ask `fliptop --settle` for the reasons, and add them; five seconds at most. False, and `start->died` says why, if it gave
 * no answer: then it will not serve either. */
bool settle(struct start *start, char *const *environment);

#endif

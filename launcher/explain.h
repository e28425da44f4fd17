/* The answer to --explain. */
#ifndef FLIPTOP_EXPLAIN_H
#define FLIPTOP_EXPLAIN_H

#include "tell.h"

/* Say what the decision is and why, for people or as one line of JSON. */
void explain(const struct start *start, bool json);

#endif

/* The answers to --explain and --version. */
#ifndef FLIPTOP_EXPLAIN_H
#define FLIPTOP_EXPLAIN_H

#include "tell.h"

/* Say what the decision is and why, for people or as one line of JSON. */
void explain(const struct start *start, bool json);

/* Say which version this is, and what the layer was made of. */
void explain_version(const struct layer *layer);

#endif

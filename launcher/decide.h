/* From environment and datadog.yaml to the reasons for falling back. */
#ifndef FLIPTOP_DECIDE_H
#define FLIPTOP_DECIDE_H

#include "rules.h"
#include "text.h"

struct decision {
	uint32_t reasons;  /* bit n: enum reason n matches */
	char unsure[96];   /* why datadog.yaml could not be judged here, empty if it could */
	uint64_t took_ns;  /* from the launcher's entry */
};

/* Add the reasons that the configuration gives. `file` is what datadog.yaml holds. When its scan is unsure, nothing that
 * it said counts, but the environment does. */
void decide_configuration(struct decision *decision, char *const *environment, struct text file);

#endif

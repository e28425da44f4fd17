/* Any bytes as an environment, entries ended by NUL: no crash, no overrun, and no reason without one of its words. */
#include <stdlib.h>
#include <string.h>

#include "decide.h"

enum { MOST_VARIABLES = 256 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *entries[MOST_VARIABLES + 1];
	char *block = malloc(size + 1);
	size_t count = 0;
	struct decision decision = {0};

	if (!block)
		return 0;
	memcpy(block, data, size);
	block[size] = '\0';
	for (char *at = block; at < block + size && count < MOST_VARIABLES; at += strlen(at) + 1)
		entries[count++] = at;
	entries[count] = NULL;
	decide_configuration(&decision, entries, (struct text){"", 0});
	/* No rule can match a variable that has no equals sign. */
	if (decision.unsure[0] || (decision.reasons && !memchr(block, '=', size)))
		abort();
	free(block);
	return 0;
}

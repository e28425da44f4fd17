/* For tests: decides many configurations in one process. Each is an environment (entries ended by NUL) and a file, both
 * with their length in front, as four bytes, the least significant first. The answer to each is one line: the reasons, each
 * with a space behind it, then "|", then why the scan is unsure. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "decide.h"

enum { MOST_VARIABLES = 1024 };

/* Of exactly the length, so that the sanitizer sees a read beyond it. */
static char *read_block(size_t *length)
{
	unsigned char size[4];
	char *block;

	if (fread(size, 1, sizeof(size), stdin) != sizeof(size))
		exit(0);
	*length = size[0] | (size_t)size[1] << 8 | (size_t)size[2] << 16 | (size_t)size[3] << 24;
	block = malloc(*length);
	if (*length && (!block || fread(block, 1, *length, stdin) != *length))
		exit(1);
	return block;
}

static void split(char *block, size_t length, char **entries)
{
	size_t count = 0;

	for (char *at = block; at < block + length && count < MOST_VARIABLES; at += strlen(at) + 1)
		entries[count++] = at;
	entries[count] = NULL;
}

int main(void)
{
	static char *entries[MOST_VARIABLES + 1];

	for (;;) {
		struct decision decision = {0};
		size_t length;
		char *environment = read_block(&length);
		char *file;

		split(environment, length, entries);
		file = read_block(&length);
		decide_configuration(&decision, entries, (struct text){file, length});
		for (unsigned n = 0; n < REASON_COUNT; n++)
			if (decision.reasons >> n & 1)
				printf("%s ", REASONS[n].name);
		printf("|%s\n", decision.unsure);
		fflush(stdout);
		free(environment);
		free(file);
	}
}

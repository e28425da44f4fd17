/* Could the kernel execute this file? Looked at before anything is registered, while the other extension can still run. */
#ifndef FLIPTOP_PROGRAM_H
#define FLIPTOP_PROGRAM_H

#include <stdbool.h>

/* errno that tells why this is not a file that may be executed, 0: it is. Does not look into it. */
int file_error(const char *path);

enum { LOADER_SIZE = 64 };

/* What the head of such a file says. */
struct program {
	bool is_script;		  /* an interpreter executes it */
	bool is_foreign;	  /* it is a program for another architecture */
	char loader[LOADER_SIZE]; /* what loads it and its libraries; empty: nothing, or a path that is too long to be told */
};

/* errno that tells why this file cannot be executed, 0: it looks as if it can. What only the kernel and the loader can
 * tell (a damaged program, a missing library) is not found out here. */
int program_error(const char *path, struct program *program);

#endif

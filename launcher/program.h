/* Could the kernel execute this file? Looked at before anything is registered, while the other extension can still run. */
#ifndef FLIPTOP_PROGRAM_H
#define FLIPTOP_PROGRAM_H

#include <stdbool.h>

/* errno that tells why this is not a file that may be executed, 0: it is. Does not look into it. */
int file_error(const char *path);

/* errno that tells why this file cannot be executed, 0: it looks as if it can. `is_script` says that an interpreter
 * executes it. What only the kernel can tell (a damaged program, a missing loader) is not found out here. */
int program_error(const char *path, bool *is_script);

#endif

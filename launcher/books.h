/* Memory that the guard shares with the extension, so that what it counted outlives it. The layout is that of
 * src/fliptop/outbox/books.py. */
#ifndef FLIPTOP_BOOKS_H
#define FLIPTOP_BOOKS_H

#include <stdint.h>

#include "text.h"

enum { BOOKS_SIZE = 16384, BOOKS_NAME_SIZE = 56, BOOKS_ROWS = BOOKS_SIZE / 64 - 1 };

struct books {
	uint64_t beats;	     /* how often the extension's loop has turned, about twice a second */
	uint64_t exec_error; /* errno: the extension's file could not be executed */
	uint64_t reserved[6];
	struct books_row {
		char name[BOOKS_NAME_SIZE]; /* "logs accepted", "logs dropped shutdown"; the first empty one ends them */
		uint64_t count;
	} rows[BOOKS_ROWS];
};

/* Make them, as an open file and in memory. NULL if that cannot be done: then nothing is shared. */
volatile struct books *books_make(int *file);

/* ,"ledger":{"logs accepted":12} */
void write_books(struct writer *to, const volatile struct books *books);

#endif

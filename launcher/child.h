/* The extension as a child process: started, heard, ended. It lives as long as its end of a socket pair is open. */
#ifndef FLIPTOP_CHILD_H
#define FLIPTOP_CHILD_H

#include <sys/types.h>

#include "books.h"
#include "ready.h"

struct child {
	pid_t id;   /* 0: it does not run */
	int socket; /* our end of the pair; -1 with `id` 0 */
	int books;  /* of the file; -1: none */
	volatile struct books *ledger;
	unsigned matched; /* how much of the end of a request's head has come */
};

/* Start it; it is given `ready`'s sockets and the other end of a new pair. False if there can be no process. */
bool child_start(struct child *child, const struct start *start, const struct ready *ready, char *const *environment);

/* Take what it has written: how many requests for the next event that completes, or -1 if it has ended. */
int child_requests(struct child *child);

/* Answer such a request with an event, as the Runtime API would. */
void child_answer(const struct child *child, const char *event);

/* Kill it. Its end is seen as that of any other. */
void child_kill(const struct child *child);

/* It has ended: wait for its exit and return it as wait(2) tells it. */
int child_reap(struct child *child);

#endif

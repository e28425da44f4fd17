/* The extension as a child process: started, heard, ended. It lives until it exits or closes its end of a socket pair. */
#ifndef FLIPTOP_CHILD_H
#define FLIPTOP_CHILD_H

#include <sys/types.h>

#include "books.h"
#include "ready.h"

enum { CANNOT_EXECUTE = 126 }; /* exit code, with `exec_error` in the books */

struct child {
	pid_t id;    /* 0: it does not run */
	int socket;  /* our end of the pair; -1 with `id` 0 */
	int process; /* readable once it has exited; -1 with `id` 0, or if the kernel (before 5.3) has no such thing */
	int books;   /* of the file; -1: none */
	volatile struct books *ledger;
	unsigned matched; /* how much of the end of a request's head has come */
};

/* Fork: 0, and in the new process, which dies with this one, its end of the pair. -1 and errno if there can be no process. */
int child_fork(struct child *child);

/* Start it; it is given `ready`'s sockets and the other end of a new pair. False and errno if there can be no process. */
bool child_start(struct child *child, const struct start *start, const struct ready *ready, char *const *environment);

/* Take what it has written: how many requests for the next event that completes, or -1 if it has ended. */
int child_requests(struct child *child);

/* Answer such a request with the event that the platform has sent, as it would; of one that is too long to be kept, with
 * what can be said of it. A child that cannot take it is killed. */
void child_answer(const struct child *child, const struct http_response *event);

/* Kill it. Its end is seen as that of any other. */
void child_kill(const struct child *child);

/* It has ended: wait for its exit, and return how it was. */
struct death child_reap(struct child *child);

#endif

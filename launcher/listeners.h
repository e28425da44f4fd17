/* The ports that must be open before the extension is ready: the kernel keeps what arrives until it serves them. */
#ifndef FLIPTOP_LISTENERS_H
#define FLIPTOP_LISTENERS_H

#include "sockets.h"

struct listener {
	const char *name;
	const char *port;
	int socket; /* -1: not listening */
	int error;  /* errno that tells why not */
};

/* All of them, in a fixed order. The telemetry listener is the first. */
struct listeners {
	struct listener all[MOST_INHERITED - 2]; /* the books and the connection are inherited too */
	size_t count;
};

enum { TELEMETRY, DOGSTATSD };

/* Listen on every port that the extension serves. One that cannot be had is left out, with its error. */
void listeners_open(struct listeners *listeners);

/* Refuse whoever comes from now on: better than to let them wait for an answer that nobody gives. */
void listener_close(struct listener *listener);

#endif

/* The ports that must be open before the extension is ready: the kernel keeps what arrives until it serves them. */
#ifndef FLIPTOP_LISTENERS_H
#define FLIPTOP_LISTENERS_H

#include "sockets.h"

struct listener {
	const char *name;
	const char *port;
	const char *loss; /* what happens without it */
	int socket; /* -1: not listening */
	int error;  /* errno that tells why not */
};

enum { TELEMETRY, LIFECYCLE, TRACE_AGENT, DOGSTATSD, LISTENER_COUNT };

/* All of them, in a fixed order. */
struct listeners {
	struct listener all[LISTENER_COUNT];
};

/* Listen on every port that the extension serves. One that cannot be had is left out, with its error. */
void listeners_open(struct listeners *listeners);

/* Refuse whoever comes from now on, and whoever waits already, even if another process has inherited the socket: better
 * than to let them wait for an answer that nobody gives. */
void listener_close(struct listener *listener);

/* Likewise, on all ports. */
void listeners_close(struct listeners *listeners);

#endif

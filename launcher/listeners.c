#include "listeners.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdint.h>
#include <sys/socket.h>
#include <unistd.h>

#include "testing.h"
#include "text.h"

/* Datagrams wait in the buffer while the extension loads, or works; the kernel allows what net.core.rmem_max says. */
enum { BACKLOG = 128, DATAGRAM_BUFFER = 4 << 20 };

struct endpoint {
	const char *name;
	const char *port;
	int type, protocol;
	uint32_t address;
	const char *loss;
};

static int listening(const struct endpoint *endpoint)
{
	struct sockaddr_in at = {.sin_family = AF_INET,
				 .sin_port = htons((unsigned short)text_port(text_of(endpoint->port))),
				 .sin_addr = {htonl(endpoint->address)}};
	const int yes = 1, buffer = DATAGRAM_BUFFER;
	/* The protocol is spelled out: asyncio sets TCP_NODELAY only on sockets that carry it. */
	int made = own_socket(endpoint->type, endpoint->protocol);
	int error;

	if (made < 0)
		return -1;
	if (endpoint->type == SOCK_STREAM) /* two sockets for datagrams would share the port, unnoticed */
		setsockopt(made, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes));
	else
		setsockopt(made, SOL_SOCKET, SO_RCVBUF, &buffer, sizeof(buffer));
	if (!bind(made, (struct sockaddr *)&at, sizeof(at)) && (endpoint->type != SOCK_STREAM || !listen(made, BACKLOG)))
		return made;
	error = errno;
	close(made);
	errno = error;
	return -1;
}

void listeners_open(struct listeners *listeners)
{
	const struct endpoint endpoints[LISTENER_COUNT] = {
		/* The platform delivers from outside the sandbox's loopback. */
		[TELEMETRY] = {"telemetry", TELEMETRY_PORT, SOCK_STREAM, IPPROTO_TCP, INADDR_ANY,
			       "no logs will be collected"},
		[LIFECYCLE] = {"lifecycle", LIFECYCLE_PORT, SOCK_STREAM, IPPROTO_TCP, INADDR_LOOPBACK,
			       "no spans will be made of invocations for tracers that leave that to the extension"},
		[TRACE_AGENT] = {"trace_agent", TRACE_AGENT_PORT, SOCK_STREAM, IPPROTO_TCP, INADDR_LOOPBACK,
				 "no traces will be collected"},
		[DOGSTATSD] = {"dogstatsd", STATSD_PORT, SOCK_DGRAM, IPPROTO_UDP, INADDR_LOOPBACK,
			       "no DogStatsD metrics will be collected"},
	};

	for (size_t i = 0; i < LISTENER_COUNT; i++) {
		const struct endpoint *endpoint = &endpoints[i];
		int made = listening(endpoint);

		listeners->all[i] = (struct listener){endpoint->name, endpoint->port, endpoint->loss, made,
						      made < 0 ? errno : 0};
	}
}

void listener_close(struct listener *listener)
{
	if (listener->socket >= 0) {
		shutdown(listener->socket, SHUT_RDWR);
		close(listener->socket);
	}
	listener->socket = -1;
}

void listeners_close(struct listeners *listeners)
{
	for (size_t i = 0; i < LISTENER_COUNT; i++)
		listener_close(&listeners->all[i]);
}

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
	/* Only what the extension serves: a tracer that is not refused, and not answered either, would wait. */
	const struct endpoint endpoints[] = {
		/* The platform delivers from outside the sandbox's loopback. */
		[TELEMETRY] = {"telemetry", TELEMETRY_PORT, SOCK_STREAM, IPPROTO_TCP, INADDR_ANY},
		[DOGSTATSD] = {"dogstatsd", STATSD_PORT, SOCK_DGRAM, IPPROTO_UDP, INADDR_LOOPBACK},
	};

	listeners->count = sizeof(endpoints) / sizeof(*endpoints);
	for (size_t i = 0; i < listeners->count; i++) {
		int made = listening(&endpoints[i]);

		listeners->all[i] = (struct listener){endpoints[i].name, endpoints[i].port, made, made < 0 ? errno : 0};
	}
}

void listener_close(struct listener *listener)
{
	if (listener->socket >= 0)
		close(listener->socket);
	listener->socket = -1;
}

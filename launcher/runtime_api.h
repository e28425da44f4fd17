/* The Runtime API at AWS_LAMBDA_RUNTIME_API: one connection, one request at a time. Nothing here limits the time that an
 * answer takes, unless that is asked for: Lambda decides that, and may freeze everything in the middle of it. */
#ifndef FLIPTOP_RUNTIME_API_H
#define FLIPTOP_RUNTIME_API_H

#include <netinet/in.h>

#include "http.h"
#include "text.h"

enum { CONNECT_TIMEOUT_S = 2 };

struct runtime_api {
	const char *address; /* "host:port", as the environment gives it */
	struct sockaddr_in at;
	int socket;	  /* -1: not connected */
	bool has_hung_up; /* the last connection has ended without a byte of the answer */
};

struct request {
	const char *line;  /* method and path */
	const char *name;  /* of a header, with its value; more of them, each with CRLF behind it, in `headers` */
	const char *value;
	const char *headers;
	const char *body;
};

/* Find the address in the environment; false if there is none, or the host is neither an IPv4 address nor localhost.
 * Connects to nothing. */
bool runtime_api_find(struct runtime_api *api, char *const *environment);

/* Send a request, connecting first where that is needed. NULL, or why it failed. */
const char *runtime_api_ask(struct runtime_api *api, const struct request *request);

/* Wait for the answer, keeping the header `wanted` (in lower case) and the start of the body. NULL, or why it failed. */
const char *runtime_api_answer(struct runtime_api *api, struct http_response *response, const char *wanted);

/* Wait for some bytes of the answer that `response` was begun for. NULL, or why there will be no more of them; it is there
 * when its state is HTTP_COMPLETE. */
const char *runtime_api_receive(struct runtime_api *api, struct http_response *response);

/* Wait for the next answer's bytes so many seconds at a time; 0: without limit, as at first. */
void runtime_api_limit(const struct runtime_api *api, unsigned seconds);

/* Give the connection up. */
void runtime_api_close(struct runtime_api *api);

#endif

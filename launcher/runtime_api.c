#include "runtime_api.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "environment.h"
#include "sockets.h"

enum { REQUEST_SIZE = 2048 };

bool runtime_api_find(struct runtime_api *api, char *const *environment)
{
	char host[INET_ADDRSTRLEN];
	struct writer to = WRITER(host);
	const char *colon;
	unsigned port;

	*api = (struct runtime_api){.socket = -1, .at.sin_family = AF_INET};
	api->address = environment_get(environment, "AWS_LAMBDA_RUNTIME_API");
	colon = api->address ? strrchr(api->address, ':') : NULL;
	if (!colon || (size_t)(colon - api->address) >= sizeof(host))
		return false;
	write_some(&to, (struct text){api->address, (size_t)(colon - api->address)});
	write_end(&to);
	port = text_port(text_of(colon + 1));
	api->at.sin_port = htons((unsigned short)port);
	return port && inet_pton(AF_INET, strcmp(host, "localhost") ? host : "127.0.0.1", &api->at.sin_addr) == 1;
}

/* --- the connection --- */

static const char *connected(struct runtime_api *api)
{
	const struct timeval limit = {.tv_sec = CONNECT_TIMEOUT_S}, none = {0};
	const int yes = 1;
	int failed;

	api->socket = own_socket(SOCK_STREAM, IPPROTO_TCP);
	if (api->socket < 0)
		return error_text(errno);
	setsockopt(api->socket, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
	while ((failed = connect(api->socket, (struct sockaddr *)&api->at, sizeof(api->at))) && errno == EINTR)
		; /* frozen and thawed in the middle of it */
	if (failed && errno != EISCONN) {
		int error = errno == EINPROGRESS || errno == EALREADY ? ETIMEDOUT : errno;

		runtime_api_close(api);
		return error_text(error);
	}
	setsockopt(api->socket, SOL_SOCKET, SO_SNDTIMEO, &none, sizeof(none));
	setsockopt(api->socket, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof(yes));
	return NULL;
}

void runtime_api_close(struct runtime_api *api)
{
	if (api->socket >= 0)
		close(api->socket);
	api->socket = -1;
}

void runtime_api_limit(const struct runtime_api *api, unsigned seconds)
{
	const struct timeval limit = {.tv_sec = seconds};

	if (api->socket >= 0)
		setsockopt(api->socket, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
}

static bool send_all(int socket_, const char *bytes, size_t length)
{
	while (length) {
		ssize_t sent = send(socket_, bytes, length, MSG_NOSIGNAL);

		if (sent < 0 && errno != EINTR)
			return false;
		if (sent > 0) {
			bytes += sent;
			length -= (size_t)sent;
		}
	}
	return true;
}

/* --- requests and answers --- */

static void compose(struct writer *to, const struct runtime_api *api, const struct request *request)
{
	write_text(to, request->line);
	write_text(to, " HTTP/1.1\r\nHost: ");
	write_text(to, api->address);
	write_text(to, "\r\n");
	write_text(to, request->name);
	write_text(to, ": ");
	write_text(to, request->value);
	write_text(to, "\r\n");
	write_text(to, request->headers);
	write_text(to, "Content-Length: ");
	write_number(to, strlen(request->body));
	write_text(to, "\r\n\r\n");
	write_text(to, request->body);
}

const char *runtime_api_ask(struct runtime_api *api, const struct request *request)
{
	char bytes[REQUEST_SIZE];
	struct writer to = WRITER(bytes);

	compose(&to, api, request);
	for (;;) {
		bool is_new = api->socket < 0;
		const char *why = is_new ? connected(api) : NULL;

		if (why)
			return why;
		if (send_all(api->socket, bytes, (size_t)(to.at - bytes)))
			return NULL;
		why = error_text(errno);
		runtime_api_close(api);
		if (is_new)
			return why;
		/* The server may close a connection that has served its answer: then this is tried on another one, once. */
	}
}

const char *runtime_api_receive(struct runtime_api *api, struct http_response *response)
{
	char bytes[4096];
	ssize_t got = recv(api->socket, bytes, sizeof(bytes), 0);
	const char *why = NULL;

	if (got < 0 && errno == EINTR)
		return NULL;
	api->has_hung_up = (!got || (got < 0 && errno == ECONNRESET)) && !http_has_begun(response);
	if (got < 0)
		why = error_text(errno == EAGAIN ? ETIMEDOUT : errno);
	else if (!got)
		http_end(response);
	else if (http_feed(response, bytes, (size_t)got) < (size_t)got)
		response->state = HTTP_BROKEN; /* nobody asked for what follows */
	if (!why && response->state == HTTP_BROKEN)
		why = got ? "the answer is not HTTP" : "connection closed before the answer was complete";
	if (why || (response->state == HTTP_COMPLETE && response->closes))
		runtime_api_close(api);
	return why;
}

const char *runtime_api_answer(struct runtime_api *api, struct http_response *response, const char *wanted)
{
	const char *why = NULL;

	http_begin(response, wanted);
	while (!why && response->state < HTTP_COMPLETE)
		why = runtime_api_receive(api, response);
	return why;
}

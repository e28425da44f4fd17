/* One HTTP/1.1 response out of bytes that come in pieces of any size. No I/O: runtime_api.c moves the bytes. */
#ifndef FLIPTOP_HTTP_H
#define FLIPTOP_HTTP_H

#include <stdbool.h>
#include <stddef.h>

enum {
	HTTP_LINE_KEPT = 1024,      /* of a line of the head; the rest is passed over */
	HTTP_HEAD_LIMIT = 64 << 10, /* all lines before the body, those of informational responses included */
	HTTP_BODY_KEPT = 4096,
	HTTP_BODY_LIMIT = 16 << 20,
	HTTP_WANTED_SIZE = 256,
};

enum http_state {
	HTTP_STATUS_LINE,
	HTTP_HEADERS,
	HTTP_BODY_COUNTED,
	HTTP_BODY_TO_THE_END,
	HTTP_CHUNK_SIZE,
	HTTP_CHUNK,
	HTTP_CHUNK_END,
	HTTP_TRAILERS,
	HTTP_COMPLETE,
	HTTP_BROKEN,
};

/* What was read so far. The first part is for everybody, and holds once the state is HTTP_COMPLETE. */
struct http_response {
	enum http_state state;
	int status;
	char wanted[HTTP_WANTED_SIZE]; /* value of the header that was asked for, empty without it */
	char body[HTTP_BODY_KEPT + 1]; /* what fits, and a NUL */
	size_t body_length;            /* of all of it */
	bool closes;                   /* the connection serves no further request */

	const char *wanted_name;
	char line[HTTP_LINE_KEPT];
	size_t line_length; /* of all of it */
	size_t head_length;
	size_t left; /* of the body, or of the chunk */
	bool counted, chunked;
};

/* Begin to read a response, and keep the value of the header `wanted_name` (in lower case). */
void http_begin(struct http_response *response, const char *wanted_name);

/* Take bytes, and return how many belonged to this response: all of them, unless it is then complete or broken. */
size_t http_feed(struct http_response *response, const char *bytes, size_t length);

/* Has any byte of it come? */
bool http_has_begun(const struct http_response *response);

/* The peer has closed the connection: that completes a body of unknown length, and breaks anything else. */
void http_end(struct http_response *response);

#endif

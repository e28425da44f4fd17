/* Any bytes as a response, split in any way: no overrun (the sanitizers tell), and the same answer as in one piece. The
 * first byte says how long the pieces are. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "http.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static size_t feed(struct http_response *response, const char *bytes, size_t length, size_t piece)
{
	size_t used = 0;

	http_begin(response, "lambda-extension-identifier");
	while (used < length && response->state < HTTP_COMPLETE) {
		size_t next = length - used < piece ? length - used : piece;
		char *copy = malloc(next); /* of exactly the length, so that the sanitizer sees a read beyond it */

		if (!copy)
			abort();
		memcpy(copy, bytes + used, next);
		used += http_feed(response, copy, next);
		free(copy);
	}
	http_end(response);
	return used;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct http_response whole, pieces;
	size_t piece = size ? data[0] + 1u : 1;
	const char *bytes = size ? (const char *)data + 1 : "";
	size_t length = size ? size - 1 : 0;
	size_t used = feed(&whole, bytes, length, length + 1);
	size_t used_in_pieces = feed(&pieces, bytes, length, piece);

	if (whole.state != pieces.state || (whole.state != HTTP_COMPLETE && whole.state != HTTP_BROKEN))
		abort();
	if (whole.state == HTTP_BROKEN)
		return 0;
	if (used != used_in_pieces || whole.status != pieces.status || whole.closes != pieces.closes ||
	    whole.body_length != pieces.body_length || strcmp(whole.wanted, pieces.wanted) ||
	    memcmp(whole.body, pieces.body, sizeof(whole.body)))
		abort();
	if (whole.status < 200 || whole.body_length > HTTP_BODY_LIMIT || strpbrk(whole.wanted, "\r\n "))
		abort();
	return 0;
}

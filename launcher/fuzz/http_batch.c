/* For tests: reads many responses in one process. Each comes with two numbers in front, as four bytes, the least
 * significant first: the length of the pieces in which it is fed, and its own. The connection ends behind it. The answer
 * to each is one line: "broken", or: bytes used, status, whether the connection closes, length of the body, the kept part
 * of it in hexadecimal with "-" in front, and "-" with the value of Lambda-Extension-Identifier. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "http.h"

static size_t read_number(void)
{
	unsigned char size[4];

	if (fread(size, 1, sizeof(size), stdin) != sizeof(size))
		exit(0);
	return size[0] | (size_t)size[1] << 8 | (size_t)size[2] << 16 | (size_t)size[3] << 24;
}

static void print(const struct http_response *response, size_t used)
{
	size_t kept = response->body_length < HTTP_BODY_KEPT ? response->body_length : HTTP_BODY_KEPT;

	printf("%zu %d %d %zu -", used, response->status, response->closes, response->body_length);
	for (size_t i = 0; i < kept; i++)
		printf("%02x", (unsigned char)response->body[i]);
	printf(" -%s\n", response->wanted);
}

int main(void)
{
	for (;;) {
		static struct http_response response;
		size_t piece = read_number(), length = read_number(), used = 0;

		http_begin(&response, "lambda-extension-identifier");
		for (size_t at = 0; at < length; at += piece) {
			size_t next = length - at < piece ? length - at : piece;
			char *bytes = malloc(next); /* of exactly the length, so that the sanitizer sees a read beyond it */

			if (!bytes || fread(bytes, 1, next, stdin) != next)
				exit(1);
			used += http_feed(&response, bytes, next);
			free(bytes);
		}
		http_end(&response);
		if (response.state == HTTP_COMPLETE)
			print(&response, used);
		else
			puts("broken");
		fflush(stdout);
	}
}

#include "http.h"

#include <string.h>

#include "text.h"

void http_begin(struct http_response *response, const char *wanted_name)
{
	memset(response, 0, sizeof(*response));
	response->wanted_name = wanted_name;
}

static void become(struct http_response *response, enum http_state state)
{
	response->state = state;
}

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

/* --- the head --- */

/* "HTTP/1.1 200 OK", "HTTP/1.0 404" */
static void take_status_line(struct http_response *response, struct text line)
{
	static const char START[] = "HTTP/1.x 200";
	const char *at = line.at;

	if (line.length < strlen(START) || memcmp(at, START, 7) || !is_digit(at[7]) || at[8] != ' ' || at[9] < '1' ||
	    !is_digit(at[9]) || !is_digit(at[10]) || !is_digit(at[11]) ||
	    (line.length > strlen(START) && at[strlen(START)] != ' ')) {
		become(response, HTTP_BROKEN);
		return;
	}
	response->status = (at[9] - '0') * 100 + (at[10] - '0') * 10 + (at[11] - '0');
	response->closes = at[7] == '0';
	become(response, HTTP_HEADERS);
}

static bool take_length(struct http_response *response, struct text value)
{
	size_t length = 0;

	for (size_t i = 0; i < value.length; i++) {
		if (!is_digit(value.at[i]))
			return false;
		length = length * 10 + (size_t)(value.at[i] - '0');
		if (length > HTTP_BODY_LIMIT)
			return false;
	}
	if (!value.length || (response->counted && response->left != length))
		return false;
	response->left = length;
	response->counted = true;
	return true;
}

/* It goes into requests and into an environment: nothing but visible ASCII may. */
static bool take_wanted(struct http_response *response, struct text value)
{
	if (value.length >= sizeof(response->wanted))
		return false;
	for (size_t i = 0; i < value.length; i++)
		if (value.at[i] <= ' ' || value.at[i] > '~')
			return false;
	memcpy(response->wanted, value.at, value.length);
	response->wanted[value.length] = '\0';
	return true;
}

/* False: this response cannot be understood. */
static bool take_value(struct http_response *response, struct text name, struct text value, bool cut)
{
	if (text_equals_folded(name, "content-length"))
		return !cut && take_length(response, value);
	if (text_equals_folded(name, "transfer-encoding"))
		return response->chunked = !cut && text_equals_folded(value, "chunked");
	if (text_equals_folded(name, response->wanted_name))
		return !cut && take_wanted(response, value);
	if (text_equals_folded(name, "connection") && text_equals_folded(value, "close"))
		response->closes = true;
	return true;
}

static bool take_header(struct http_response *response, struct text line, bool cut)
{
	const char *colon = memchr(line.at, ':', line.length);
	struct text name = line, value = line;

	if (*line.at == ' ' || *line.at == '\t')
		return true; /* goes on with the line above: in no header that matters here */
	if (!colon)
		return cut;
	name.length = (size_t)(colon - line.at);
	value.at = colon + 1;
	value.length = line.length - name.length - 1;
	return take_value(response, name, text_trimmed(value), cut);
}

static void start_body(struct http_response *response)
{
	if (response->status < 200) {
		size_t head_length = response->head_length;

		/* 100 Continue and its like come before the response; 101 would change the protocol. */
		if (response->status == 101) {
			become(response, HTTP_BROKEN);
			return;
		}
		http_begin(response, response->wanted_name);
		response->head_length = head_length;
	} else if (response->status == 204 || response->status == 304) {
		become(response, HTTP_COMPLETE);
	} else if (response->chunked) {
		become(response, HTTP_CHUNK_SIZE);
	} else if (response->counted) {
		become(response, response->left ? HTTP_BODY_COUNTED : HTTP_COMPLETE);
	} else {
		response->closes = true;
		become(response, HTTP_BODY_TO_THE_END);
	}
}

/* --- the body --- */

static int hex_value(char c)
{
	c = folded(c);
	return is_digit(c) ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* "1a", "1A;name=value" */
static void take_chunk_size(struct http_response *response, struct text line)
{
	size_t size = 0, digits = 0;

	for (; digits < line.length && digits < 8 && hex_value(line.at[digits]) >= 0; digits++)
		size = size * 16 + (size_t)hex_value(line.at[digits]);
	if (!digits || (digits < line.length && line.at[digits] != ';' && line.at[digits] != ' ') ||
	    size + response->body_length > HTTP_BODY_LIMIT) {
		become(response, HTTP_BROKEN);
		return;
	}
	response->left = size;
	response->head_length = 0;
	become(response, size ? HTTP_CHUNK : HTTP_TRAILERS);
}

static size_t take_body(struct http_response *response, const char *bytes, size_t length)
{
	bool to_the_end = response->state == HTTP_BODY_TO_THE_END;
	size_t kept = response->body_length < HTTP_BODY_KEPT ? response->body_length : HTTP_BODY_KEPT;
	size_t taken = !to_the_end && response->left < length ? response->left : length;

	memcpy(response->body + kept, bytes, taken < HTTP_BODY_KEPT - kept ? taken : HTTP_BODY_KEPT - kept);
	response->body_length += taken;
	if (to_the_end) {
		if (response->body_length > HTTP_BODY_LIMIT)
			become(response, HTTP_BROKEN);
		return taken;
	}
	response->left -= taken;
	if (!response->left)
		become(response, response->state == HTTP_CHUNK ? HTTP_CHUNK_END : HTTP_COMPLETE);
	return taken;
}

/* --- lines and bytes --- */

static void take_line(struct http_response *response, struct text line, bool cut)
{
	switch (response->state) {
	case HTTP_STATUS_LINE:
		take_status_line(response, line);
		break;
	case HTTP_HEADERS:
		if (!line.length)
			start_body(response);
		else if (!take_header(response, line, cut))
			become(response, HTTP_BROKEN);
		break;
	case HTTP_CHUNK_SIZE:
		take_chunk_size(response, line);
		break;
	case HTTP_CHUNK_END:
		become(response, line.length ? HTTP_BROKEN : HTTP_CHUNK_SIZE);
		break;
	default:
		if (!line.length)
			become(response, HTTP_COMPLETE);
	}
}

static size_t collect_line(struct http_response *response, const char *bytes, size_t length)
{
	const char *end = memchr(bytes, '\n', length);
	size_t got = end ? (size_t)(end - bytes) : length;
	size_t kept = response->line_length < HTTP_LINE_KEPT ? response->line_length : HTTP_LINE_KEPT;
	struct text line = {response->line, 0};

	memcpy(response->line + kept, bytes, got < HTTP_LINE_KEPT - kept ? got : HTTP_LINE_KEPT - kept);
	response->line_length += got;
	response->head_length += got + (end != NULL);
	if (response->head_length > HTTP_HEAD_LIMIT) {
		become(response, HTTP_BROKEN);
		return got;
	}
	if (!end)
		return got;
	line.length = response->line_length < HTTP_LINE_KEPT ? response->line_length : HTTP_LINE_KEPT;
	if (line.length && line.at[line.length - 1] == '\r')
		line.length--;
	got = response->line_length;
	response->line_length = 0;
	take_line(response, line, got > HTTP_LINE_KEPT);
	return (size_t)(end - bytes) + 1;
}

size_t http_feed(struct http_response *response, const char *bytes, size_t length)
{
	size_t used = 0;

	while (used < length && response->state < HTTP_COMPLETE) {
		bool in_body = response->state == HTTP_BODY_COUNTED || response->state == HTTP_BODY_TO_THE_END ||
			       response->state == HTTP_CHUNK;

		used += (in_body ? take_body : collect_line)(response, bytes + used, length - used);
	}
	return used;
}

bool http_has_begun(const struct http_response *response)
{
	return response->state != HTTP_STATUS_LINE || response->line_length || response->head_length;
}

void http_end(struct http_response *response)
{
	if (response->state != HTTP_COMPLETE)
		become(response, response->state == HTTP_BODY_TO_THE_END ? HTTP_COMPLETE : HTTP_BROKEN);
}

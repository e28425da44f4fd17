#include "json.h"

#include <string.h>

void write_key(struct writer *to, const char *key)
{
	write_json(to, key);
	write_text(to, ":");
}

void write_pair(struct writer *to, const char *key, const char *value)
{
	write_text(to, ",");
	write_key(to, key);
	write_json(to, value);
}

void write_error(struct writer *to, const char *path, int error)
{
	char text[4096 + 64];
	struct writer plain = WRITER(text);

	write_text(&plain, path);
	write_text(&plain, ": ");
	write_text(&plain, error_text(error));
	write_end(&plain);
	write_json(to, text);
}

void write_error_pair(struct writer *to, const char *key, const char *path, int error)
{
	write_text(to, ",");
	write_key(to, key);
	write_error(to, path, error);
}

static const char *past_space(const char *at)
{
	while (*at == ' ' || *at == '\t' || *at == '\r' || *at == '\n')
		at++;
	return at;
}

/* What follows the colon behind the key at this quote, NULL if this is another word. Inside of a JSON string every quote
 * has a backslash before it, so a quoted key cannot occur in a value. */
static const char *value_of(const char *quote, const char *key)
{
	size_t length = strlen(key);
	const char *value;

	if (strncmp(quote + 1, key, length) || quote[length + 1] != '"')
		return NULL;
	value = past_space(quote + length + 2);
	return *value == ':' ? past_space(value + 1) : NULL;
}

struct text json_string(const char *json, const char *key)
{
	for (const char *at = strchr(json, '"'); at; at = strchr(at + 1, '"')) {
		const char *value = value_of(at, key), *end;

		if (!value || *value != '"')
			continue;
		end = value + 1 + strcspn(value + 1, "\"\\");
		if (*end == '"')
			return (struct text){value + 1, (size_t)(end - value - 1)};
	}
	return text_of("");
}

uint64_t json_number(const char *json, const char *key)
{
	uint64_t number = 0;

	for (const char *at = strchr(json, '"'); at; at = strchr(at + 1, '"')) {
		const char *value = value_of(at, key);

		if (!value || *value < '0' || *value > '9')
			continue;
		for (; *value >= '0' && *value <= '9' && number < UINT64_MAX / 100; value++)
			number = number * 10 + (uint64_t)(*value - '0');
		return number;
	}
	return 0;
}

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

struct text json_string(const char *json, const char *key)
{
	size_t length = strlen(key);

	/* Inside of a JSON string every quote has a backslash before it, so a quoted key cannot occur in a value. */
	for (const char *at = strchr(json, '"'); at; at = strchr(at + 1, '"')) {
		const char *value, *end;

		if (strncmp(at + 1, key, length) || at[length + 1] != '"')
			continue;
		value = past_space(at + length + 2);
		value = *value == ':' ? past_space(value + 1) : "";
		end = *value == '"' ? value + 1 + strcspn(value + 1, "\"\\") : value;
		if (*end == '"' && end > value)
			return (struct text){value + 1, (size_t)(end - value - 1)};
	}
	return text_of("");
}

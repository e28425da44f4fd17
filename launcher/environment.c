#include "environment.h"

#include <string.h>

/* What follows `start` (lower case) at the beginning of the string, in any case; NULL if it does not begin so. */
static const char *behind(const char *string, const char *start)
{
	for (; *start; start++, string++)
		if (folded(*string) != *start)
			return NULL;
	return string;
}

/* The value, if `entry` is the variable that `prefix` and `key` name together; else NULL. */
static const char *value_of(const char *entry, const char *prefix, struct text key)
{
	const char *at = behind(entry, prefix);

	if (!at)
		return NULL;
	for (size_t i = 0; i < key.length; i++, at++)
		if (folded(*at) != folded(key.at[i]))
			return NULL;
	return *at == '=' ? at + 1 : NULL;
}

const char *environment_get_prefixed(char *const *environment, struct text key)
{
	for (const char *const *prefix = PREFIXES; *prefix; prefix++)
		for (char *const *entry = environment; *entry; entry++) {
			const char *value = value_of(*entry, *prefix, key);

			if (value)
				return value;
		}
	return NULL;
}

const char *environment_get(char *const *environment, const char *name)
{
	for (; *environment; environment++) {
		size_t i = 0;

		while (name[i] && (*environment)[i] == name[i])
			i++;
		if (!name[i] && (*environment)[i] == '=')
			return *environment + i + 1;
	}
	return NULL;
}

static struct text unquoted(struct text text)
{
	text = text_trimmed(text);
	if (text.length >= 2 && text.at[0] == '"' && text.at[text.length - 1] == '"')
		text = text_trimmed((struct text){text.at + 1, text.length - 2});
	return text;
}

static enum answer yes_if(bool condition)
{
	return condition ? YES : NO;
}

enum answer field_says(const struct field *field, struct text text)
{
	if (field->predicate == IS_TRUE)
		return text_among(text, TRUE_WORDS) ? YES : text_among(text, FALSE_WORDS) ? NO : NOTHING;
	if (!text.length)
		return NOTHING;
	switch (field->predicate) {
	case EQUALS:
		return yes_if(text_equals_folded(text, field->operand));
	case STARTS_WITH:
		return yes_if(text_starts_folded(text, field->operand));
	default:
		return yes_if(!text_among(text, FALSE_WORDS));
	}
}

enum answer environment_says_of(char *const *environment, const struct field *field, struct text key)
{
	return field_says(field, unquoted(text_of(environment_get_prefixed(environment, key))));
}

/* The part of `name=value` behind the prefix, up to the equals sign, if it starts as the field's keys do. */
static struct text wildcard_key(const char *entry, const char *prefix, const struct field *field)
{
	const char *key = behind(entry, prefix);
	const char *end = key ? behind(key, field->key) : NULL;

	if (end)
		end = strchr(end, '=');
	return end ? (struct text){key, (size_t)(end - key)} : (struct text){0};
}

static bool any_in_use(char *const *environment, const struct field *field)
{
	for (char *const *entry = environment; *entry; entry++)
		for (const char *const *prefix = PREFIXES; *prefix; prefix++) {
			struct text key = wildcard_key(*entry, *prefix, field);

			if (key.at && environment_says_of(environment, field, key) == YES)
				return true;
		}
	return false;
}

enum answer environment_says(char *const *environment, const struct field *field)
{
	if (field->wildcard)
		return any_in_use(environment, field) ? YES : NOTHING;
	if (field->prefixed)
		return environment_says_of(environment, field, text_of(field->key));
	return field_says(field, unquoted(text_of(environment_get(environment, field->key))));
}

#include "decide.h"

#include "environment.h"
#include "yaml_scan.h"
#include "yaml_text.h"

#define KEYS_REMEMBERED 128

/* Follows the scanner through the file and keeps what it says about the watched fields. */
struct watch {
	struct yaml_sink sink;
	char *const *environment;
	const struct field *field; /* whose key or subtree the scanner is in; NULL: none */
	uint32_t seen;             /* bit n: FIELDS[n] has occurred */
	uint32_t matches;          /* bit n: the file's value matches FIELDS[n] */
	uint32_t keys[KEYS_REMEMBERED];
	unsigned key_count;
};

static uint32_t bit(unsigned n)
{
	return UINT32_C(1) << n;
}

static unsigned number_of(const struct field *field)
{
	return (unsigned)(field - FIELDS);
}

static const struct field *field_named(struct text key)
{
	for (const struct field *field = FIELDS; field < FIELDS + FIELD_COUNT; field++)
		if (field->yaml && text_equals(key, field->yaml))
			return field;
	return NULL;
}

static uint32_t hash(struct text key, uint32_t seed)
{
	uint32_t h = 2166136261u ^ seed * 0x9e3779b9u;

	for (size_t i = 0; i < key.length; i++)
		h = (h ^ (unsigned char)key.at[i]) * 16777619u;
	return h;
}

/* Of keys that occur twice the last counts, for a parser. Here that is a reason to leave it to one. Different keys with
 * the same hash cost no more than that either. */
static const char *remember(struct watch *watch, struct text key, unsigned mapping)
{
	uint32_t h = hash(key, mapping);

	for (unsigned i = 0; i < watch->key_count; i++)
		if (watch->keys[i] == h)
			return "key occurs twice";
	if (watch->key_count == KEYS_REMEMBERED)
		return "many keys in a watched mapping";
	watch->keys[watch->key_count++] = h;
	return NULL;
}

/* Parsers make numbers, booleans and nulls of some plain keys, and then different spellings are the same key. */
static bool plainly_text(struct yaml_scalar key)
{
	return key.style != YAML_PLAIN || !(yaml_like_number(key) || yaml_is_null(key) || text_among(key.text, TRUE_WORDS) ||
					    text_among(key.text, FALSE_WORDS));
}

static const char *on_key(struct yaml_sink *sink, const struct yaml_place *place, struct yaml_scalar key)
{
	struct watch *watch = (struct watch *)sink;

	if (place->depth > 1) {
		if (!watch->field || !watch->field->wildcard)
			return NULL;
		return plainly_text(key) ? remember(watch, key.text, place->mapping) : "unusual key in a watched mapping";
	}
	watch->field = place->lists ? NULL : field_named(key.text);
	if (!watch->field)
		return NULL;
	if (watch->seen & bit(number_of(watch->field)))
		return "key occurs twice";
	watch->seen |= bit(number_of(watch->field));
	return NULL;
}

/* otlp_config.traces.enabled is otlp_config_traces_enabled in the environment, which beats the file. */
static const char *environment_overrides(struct watch *watch, const struct yaml_place *place, bool *overrides)
{
	char name[256];
	struct text key = {name, 0};

	*overrides = false;
	if (place->lists)
		return NULL;
	for (unsigned i = 0; i < place->depth; i++) {
		struct text part = place->path[i];

		if (key.length + 1 + part.length > sizeof(name))
			return "long key in a watched mapping";
		if (i)
			name[key.length++] = '_';
		for (size_t j = 0; j < part.length; j++)
			name[key.length++] = part.at[j];
	}
	*overrides = environment_says_of(watch->environment, watch->field, key) != NOTHING;
	return NULL;
}

static const char *watched_leaf(struct watch *watch, struct yaml_scalar value, enum answer *answer)
{
	const struct field *field = watch->field;

	if (value.style == YAML_BLOCK)
		return "block scalar in a watched key";
	if (value.style == YAML_ESCAPED)
		return "escape in a watched value";
	*answer = yaml_is_null(value) ? NOTHING : field_says(field, text_trimmed(value.text));
	if (field->predicate == IS_TRUE && *answer == NOTHING && yaml_like_number(value))
		return "number where true or false is expected";
	if (field->predicate == IN_USE && *answer == YES && yaml_like_zero(value))
		return "unusual number in a watched key";
	return NULL;
}

static const char *on_leaf(struct yaml_sink *sink, const struct yaml_place *place, struct yaml_scalar value)
{
	struct watch *watch = (struct watch *)sink;
	const struct field *field = watch->field;
	enum answer answer = NOTHING;
	bool overridden = false;
	const char *why;

	if (!place->depth || !field || (!field->wildcard && (place->depth > 1 || place->lists)))
		return NULL;
	why = watched_leaf(watch, value, &answer);
	if (!why && answer == YES && field->wildcard)
		why = environment_overrides(watch, place, &overridden);
	if (!why && answer == YES && !overridden)
		watch->matches |= bit(number_of(field));
	return why;
}

static void keep_problem(struct decision *decision, struct yaml_problem problem)
{
	struct writer to = WRITER(decision->unsure);

	write_text(&to, "line ");
	write_number(&to, problem.line);
	write_text(&to, ": ");
	write_text(&to, problem.why);
	write_end(&to);
}

void decide_configuration(struct decision *decision, char *const *environment, struct text file)
{
	struct watch watch = {.sink = {on_key, on_leaf}, .environment = environment};
	struct yaml_problem problem = yaml_scan(file, &watch.sink);

	if (problem.why) {
		keep_problem(decision, problem);
		watch.matches = 0;
	}
	for (unsigned n = 0; n < FIELD_COUNT; n++) {
		enum answer answer = environment_says(environment, &FIELDS[n]);

		if (answer == YES || (answer == NOTHING && watch.matches & bit(n)))
			decision->reasons |= bit(FIELDS[n].reason);
	}
}

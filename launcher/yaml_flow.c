#include <string.h>

#include "yaml_cursor.h"

static bool skip_flow_space(struct scan *s)
{
	for (;;) {
		skip_spaces(s);
		if (!skip_comment(s))
			return false;
		if (s->at == s->end)
			return refuse(s, "unclosed bracket");
		if (!is_break(*s->at))
			return true;
		skip_break(s);
		if (at_document_marker(s))
			return refuse(s, "more than one document");
	}
}

/* What separates one element from the next; `more` says whether there may be a next one. */
static bool flow_separator(struct scan *s, char closing, bool *more)
{
	if (!skip_flow_space(s))
		return false;
	*more = *s->at == ',';
	if (!*more && *s->at != closing)
		return refuse(s, "missing comma or bracket");
	s->at++;
	return true;
}

static bool flow_value(struct scan *s)
{
	struct yaml_scalar value;

	if (ahead(s, 0) == '[' || ahead(s, 0) == '{')
		return read_flow(s);
	return read_scalar(s, &value, true) && tell_leaf(s, value);
}

static bool flow_pair(struct scan *s, unsigned mapping)
{
	struct yaml_scalar key;

	if (!read_scalar(s, &key, true))
		return false;
	skip_spaces(s);
	if (ahead(s, 0) != ':')
		return refuse(s, "key without a value");
	if (!enter_key(s, key, mapping))
		return false;
	s->at++;
	if (!skip_flow_space(s))
		return false;
	if (!(strchr(",}", *s->at) ? tell_null(s) : flow_value(s)))
		return false;
	leave_key(s);
	return true;
}

static bool flow_elements(struct scan *s, char closing)
{
	unsigned mapping = ++s->mappings;

	for (bool more = true; more;) {
		if (!skip_flow_space(s))
			return false;
		if (*s->at == closing) {
			s->at++;
			return true;
		}
		if (!(closing == '}' ? flow_pair(s, mapping) : flow_value(s)) || !flow_separator(s, closing, &more))
			return false;
	}
	return true;
}

bool read_flow(struct scan *s)
{
	bool list = *s->at++ == '[';

	if (!nest(s))
		return false;
	s->place.lists += list;
	if (!flow_elements(s, list ? ']' : '}'))
		return false;
	s->place.lists -= list;
	s->nesting--;
	return true;
}

#include "yaml_cursor.h"

#include <string.h>

#include "yaml_text.h"

/* --- lines --- */

void skip_spaces(struct scan *s)
{
	while (ahead(s, 0) == ' ')
		s->at++;
}

void skip_to_break(struct scan *s)
{
	while (!is_break(ahead(s, 0)))
		s->at++;
}

void skip_break(struct scan *s)
{
	s->at += ahead(s, 0) == '\r';
	s->at += ahead(s, 0) == '\n';
	s->line_start = s->at;
	s->line++;
}

bool at_document_marker(const struct scan *s)
{
	return s->at == s->line_start && s->end - s->at >= 3 && is_blank(ahead(s, 3)) &&
	       (!memcmp(s->at, "---", 3) || !memcmp(s->at, "...", 3));
}

/* A comment, if there is one here; it must follow a space or start the line. */
bool skip_comment(struct scan *s)
{
	if (ahead(s, 0) != '#')
		return true;
	if (s->at > s->line_start && s->at[-1] != ' ')
		return refuse(s, "# without a space before it");
	skip_to_break(s);
	return true;
}

bool next_content(struct scan *s)
{
	for (;;) {
		skip_spaces(s);
		if (!skip_comment(s))
			return false;
		if (s->at == s->end) {
			s->column = -1;
			return true;
		}
		if (!is_break(*s->at))
			break;
		skip_break(s);
	}
	if (s->started && at_document_marker(s))
		return refuse(s, "more than one document");
	s->column = (int)(s->at - s->line_start);
	return true;
}

bool at_line_end(struct scan *s)
{
	skip_spaces(s);
	return is_break(ahead(s, 0)) || ahead(s, 0) == '#';
}

bool finish_line(struct scan *s)
{
	if (!at_line_end(s))
		return refuse(s, ahead(s, 0) == '\t' ? "tab" : "text after a value");
	return next_content(s);
}

/* --- scalars --- */

static bool double_quoted(struct scan *s, struct yaml_scalar *scalar)
{
	const char *start = ++s->at;

	scalar->style = YAML_QUOTED;
	for (; ahead(s, 0) != '"'; s->at++) {
		if (is_break(ahead(s, 0)))
			return refuse(s, "quoted text over several lines");
		if (*s->at == '\\') {
			size_t length = yaml_escape_length(s->at + 1, s->end);

			if (!length)
				return refuse(s, "unusual escape");
			s->at += length;
			scalar->style = YAML_ESCAPED;
		}
	}
	scalar->text = (struct text){start, (size_t)(s->at++ - start)};
	return true;
}

static bool single_quoted(struct scan *s, struct yaml_scalar *scalar)
{
	const char *start = ++s->at;

	scalar->style = YAML_QUOTED;
	for (; ahead(s, 0) != '\'' || ahead(s, 1) == '\''; s->at++) {
		if (is_break(ahead(s, 0)))
			return refuse(s, "quoted text over several lines");
		if (*s->at == '\'') {
			s->at++;
			scalar->style = YAML_ESCAPED;
		}
	}
	scalar->text = (struct text){start, (size_t)(s->at++ - start)};
	return true;
}

/* Why no plain scalar starts here, NULL if one does. */
static const char *not_plain(const struct scan *s, bool flow)
{
	char next = ahead(s, 1);

	switch (ahead(s, 0)) {
	case '&':
		return "anchor";
	case '*':
		return "alias";
	case '!':
		return "tag";
	case '|':
	case '>':
		return "block scalar";
	case '?':
		return "complex key";
	case '%':
		return "directive";
	case '\t':
		return "tab";
	case '-':
		return is_blank(next) || (flow && strchr(",[]{}", next)) ? "misplaced list item" : NULL;
	default:
		return is_break(ahead(s, 0)) || strchr(":,[]{}#@`", *s->at) ? "unexpected character" : NULL;
	}
}

static bool plain_ends(const struct scan *s, bool flow)
{
	char c = ahead(s, 0);
	char next = ahead(s, 1);

	if (is_break(c))
		return true;
	if (c == ':')
		return is_blank(next) || (flow && strchr(",[]{}", next));
	if (c == '#')
		return s->at[-1] == ' ';
	return flow && strchr(",[]{}", c);
}

static bool plain(struct scan *s, struct yaml_scalar *scalar, bool flow)
{
	const char *start = s->at;
	const char *why = not_plain(s, flow);

	if (why)
		return refuse(s, why);
	for (; !plain_ends(s, flow); s->at++) {
		if (*s->at == '\t')
			return refuse(s, "tab");
		if (flow && *s->at == '?')
			return refuse(s, "complex key");
	}
	scalar->style = YAML_PLAIN;
	scalar->text = text_trimmed((struct text){start, (size_t)(s->at - start)});
	why = yaml_check_plain(scalar->text);
	return why ? refuse(s, why) : true;
}

bool read_scalar(struct scan *s, struct yaml_scalar *scalar, bool flow)
{
	if (ahead(s, 0) == '"')
		return double_quoted(s, scalar);
	if (ahead(s, 0) == '\'')
		return single_quoted(s, scalar);
	return plain(s, scalar, flow);
}

/* --- what the sink is told --- */

bool tell_leaf(struct scan *s, struct yaml_scalar value)
{
	const char *why = s->sink->leaf(s->sink, &s->place, value);

	return why ? refuse(s, why) : true;
}

bool tell_null(struct scan *s)
{
	return tell_leaf(s, (struct yaml_scalar){{"", 0}, YAML_PLAIN});
}

bool enter_key(struct scan *s, struct yaml_scalar key, unsigned mapping)
{
	/* Parsers refuse keys beyond 1024 letters, with quotes and the spaces behind. */
	enum { LONGEST = 1000 };
	const char *why;

	if (key.style == YAML_ESCAPED)
		return refuse(s, "escape in a key");
	if (s->at - key.text.at > LONGEST)
		return refuse(s, "long key");
	if (s->place.depth == YAML_DEPTH)
		return refuse(s, "nested too deeply");
	s->place.mapping = mapping;
	s->place.path[s->place.depth++] = key.text;
	why = s->sink->key(s->sink, &s->place, key);
	return why ? refuse(s, why) : true;
}

void leave_key(struct scan *s)
{
	s->place.depth--;
}

bool nest(struct scan *s)
{
	return ++s->nesting <= YAML_DEPTH || refuse(s, "nested too deeply");
}

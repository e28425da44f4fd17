#include "yaml_scan.h"

#include <string.h>

#include "yaml_cursor.h"
#include "yaml_text.h"

/* These functions start at content, whose column is `column`, and leave at the next content. */

static bool block_node(struct scan *s);

static bool at_item(const struct scan *s)
{
	return ahead(s, 0) == '-' && is_blank(ahead(s, 1)) && ahead(s, 1) != '\t';
}

static bool block_list(struct scan *s);

/* Content lines are those indented deeper than `column`, all at least as deep as the first. */
static bool block_scalar_lines(struct scan *s, int column)
{
	int indent = -1;
	int deepest_blank = 0;

	for (; s->at < s->end; skip_break(s)) {
		const char *line = s->at;
		int spaces;

		skip_spaces(s);
		spaces = (int)(s->at - line);
		if (is_break(ahead(s, 0))) {
			if (indent < 0 && spaces > deepest_blank)
				deepest_blank = spaces;
			continue;
		}
		if (spaces <= column) {
			s->at = line;
			return true;
		}
		if (indent < 0)
			indent = spaces;
		if (spaces < indent || deepest_blank > indent)
			return refuse(s, "unclear indentation of a block scalar");
		skip_to_break(s);
	}
	return true;
}

static bool block_scalar(struct scan *s, int column)
{
	struct yaml_scalar value = {{s->at, 1}, YAML_BLOCK};

	s->at++;
	s->at += ahead(s, 0) == '+' || ahead(s, 0) == '-';
	if (!at_line_end(s))
		return refuse(s, "unusual block scalar");
	if (!skip_comment(s) || !tell_leaf(s, value))
		return false;
	skip_break(s);
	return block_scalar_lines(s, column) && next_content(s);
}

/* The value of a key or an item that stands on a line of its own, if there is one. */
static bool value_below(struct scan *s, int column, bool of_key)
{
	if (!finish_line(s))
		return false;
	if (s->column > column)
		return block_node(s);
	if (of_key && s->column == column && at_item(s))
		return block_list(s);
	return tell_null(s);
}

static bool key_value(struct scan *s, int column)
{
	struct yaml_scalar value;

	if (at_line_end(s))
		return value_below(s, column, true);
	if (*s->at == '|' || *s->at == '>')
		return block_scalar(s, column);
	if (*s->at == '[' || *s->at == '{')
		return read_flow(s) && finish_line(s);
	return read_scalar(s, &value, false) && tell_leaf(s, value) && finish_line(s);
}

static bool take_colon(struct scan *s)
{
	skip_spaces(s);
	return ahead(s, 0) == ':' && is_blank(ahead(s, 1));
}

static bool block_mapping(struct scan *s, int column, struct yaml_scalar key)
{
	unsigned mapping = ++s->mappings;

	for (;;) {
		if (!enter_key(s, key, mapping))
			return false;
		s->at++;
		if (!key_value(s, column))
			return false;
		leave_key(s);
		if (s->column != column)
			return s->column < column || refuse(s, "unexpected indentation");
		if (!read_scalar(s, &key, false))
			return false;
		if (!take_colon(s))
			return refuse(s, "not a key and its value");
	}
}

static bool item_value(struct scan *s, int column)
{
	s->at++;
	if (at_line_end(s))
		return value_below(s, column, false);
	if (*s->at == '|' || *s->at == '>')
		return block_scalar(s, column);
	s->column = (int)(s->at - s->line_start);
	return block_node(s);
}

static bool block_list(struct scan *s)
{
	int column = s->column;

	if (!nest(s))
		return false;
	s->place.lists++;
	while (s->column == column && at_item(s))
		if (!item_value(s, column))
			return false;
	s->place.lists--;
	s->nesting--;
	return s->column <= column || refuse(s, "unexpected indentation");
}

static bool block_node(struct scan *s)
{
	struct yaml_scalar first;
	int column = s->column;

	if (at_item(s))
		return block_list(s);
	if (*s->at == '[' || *s->at == '{')
		return read_flow(s) && finish_line(s);
	if (!read_scalar(s, &first, false))
		return false;
	if (!take_colon(s))
		return tell_leaf(s, first) && finish_line(s);
	if (!nest(s) || !block_mapping(s, column, first))
		return false;
	s->nesting--;
	return true;
}

static bool document(struct scan *s)
{
	if (!next_content(s))
		return false;
	s->started = true;
	if (s->column == 0 && at_document_marker(s)) {
		if (*s->at == '.')
			return refuse(s, "end of a document");
		s->at += 3;
		if (!finish_line(s))
			return false;
	}
	if (s->column < 0)
		return true;
	if (!block_node(s))
		return false;
	return s->column < 0 || refuse(s, "unexpected indentation");
}

struct yaml_problem yaml_scan(struct text bytes, struct yaml_sink *sink)
{
	struct scan s = {.sink = sink, .line = 1};
	struct yaml_problem problem;

	if (bytes.length >= 3 && !memcmp(bytes.at, "\xef\xbb\xbf", 3))
		bytes = (struct text){bytes.at + 3, bytes.length - 3};
	problem = yaml_check_bytes(bytes);
	if (problem.why)
		return problem;
	s.at = s.line_start = bytes.at;
	s.end = bytes.at + bytes.length;
	if (document(&s))
		return (struct yaml_problem){NULL, s.line};
	return (struct yaml_problem){s.problem, s.line};
}

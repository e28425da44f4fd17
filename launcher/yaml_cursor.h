/* The scanner's place in the file, and how it moves: lines, scalars, and what the sink is told of them. */
#ifndef FLIPTOP_YAML_CURSOR_H
#define FLIPTOP_YAML_CURSOR_H

#include "yaml_scan.h"

/* Every function that answers bool says whether to go on; if not, `problem` says why. */
struct scan {
	const char *at;
	const char *end;
	const char *line_start;
	int column; /* of the content at hand; -1 is the end of the file */
	unsigned line;
	unsigned nesting;
	unsigned mappings;
	bool started; /* a line --- from here on begins another document */
	struct yaml_place place;
	struct yaml_sink *sink;
	const char *problem;
};

static inline bool refuse(struct scan *s, const char *why)
{
	s->problem = why;
	return false;
}

/* NUL stands for the end of the file: yaml_check_bytes() lets none through. */
static inline char ahead(const struct scan *s, size_t distance)
{
	return distance < (size_t)(s->end - s->at) ? s->at[distance] : '\0';
}

static inline bool is_break(char c)
{
	return c == '\n' || c == '\r' || c == '\0';
}

static inline bool is_blank(char c)
{
	return c == ' ' || c == '\t' || is_break(c);
}

void skip_spaces(struct scan *s);
void skip_to_break(struct scan *s);
void skip_break(struct scan *s);
bool skip_comment(struct scan *s);
bool at_document_marker(const struct scan *s);

/* Past spaces: at the end of the line, or at a comment? */
bool at_line_end(struct scan *s);

/* Go to the next line that holds something, and set `column`. */
bool next_content(struct scan *s);

/* The same from the end of a value, behind which only a comment may stand. */
bool finish_line(struct scan *s);

/* A plain or quoted scalar that begins and ends on this line; `flow`: inside brackets. */
bool read_scalar(struct scan *s, struct yaml_scalar *scalar, bool flow);

bool tell_leaf(struct scan *s, struct yaml_scalar value);
bool tell_null(struct scan *s);
bool enter_key(struct scan *s, struct yaml_scalar key, unsigned mapping);
void leave_key(struct scan *s);

/* One level deeper: the scanner recurses, and a file must not decide how far. */
bool nest(struct scan *s);

/* Flow style, [a, b] and {a: b}: from the opening bracket to behind the closing one. */
bool read_flow(struct scan *s);

#endif

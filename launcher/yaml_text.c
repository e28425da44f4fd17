#include "yaml_text.h"

#include <string.h>

/* What YAML counts as printable, less the line breaks that only it knows (U+0085, U+2028, U+2029), and byte order marks. */
static bool is_readable(const unsigned char *s, size_t length)
{
	switch (length) {
	case 1:
		return (s[0] >= ' ' && s[0] <= '~') || s[0] == '\t' || s[0] == '\n';
	case 2:
		return s[0] != 0xc2 || s[1] >= 0xa0;
	case 3:
		if (s[0] == 0xe2 && s[1] == 0x80)
			return s[2] != 0xa8 && s[2] != 0xa9;
		if (s[0] == 0xef && s[1] == 0xbb)
			return s[2] != 0xbf;
		return s[0] != 0xef || s[1] != 0xbf || s[2] < 0xbe;
	default:
		return length == 4;
	}
}

struct yaml_problem yaml_check_bytes(struct text document)
{
	struct yaml_problem problem = {NULL, 1};
	const char *end = document.at + document.length;

	for (const char *at = document.at; at < end;) {
		size_t length;

		if (*at >= ' ' && *at <= '~') { /* nearly everything */
			at++;
			continue;
		}
		length = utf8_length(at, end);
		if (*at == '\r' && at + 1 < end && at[1] == '\n')
			length = 2;
		else if (!length)
			problem.why = "not UTF-8";
		else if (!is_readable((const unsigned char *)at, length))
			problem.why = "control character";
		if (problem.why)
			return problem;
		problem.line += *at == '\n' || *at == '\r';
		at += length;
	}
	return problem;
}

static bool is_hex(char c)
{
	return (c >= '0' && c <= '9') || (folded(c) >= 'a' && folded(c) <= 'f');
}

size_t yaml_escape_length(const char *at, const char *end)
{
	size_t digits = at < end && *at == 'x' ? 2 : at < end && *at == 'u' ? 4 : 0;

	if (at == end || (!digits && (!*at || !strchr("\\\"/nrt0", *at))) || digits >= (size_t)(end - at))
		return 0;
	for (size_t i = 1; i <= digits; i++)
		if (!is_hex(at[i]))
			return 0;
	return 1 + digits;
}

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static struct text unsigned_part(struct text text)
{
	if (text.length && (text.at[0] == '+' || text.at[0] == '-'))
		return (struct text){text.at + 1, text.length - 1};
	return text;
}

static bool looks_like_date(struct text text)
{
	if (text.length < 6 || text.at[4] != '-' || !is_digit(text.at[5]))
		return false;
	return is_digit(text.at[0]) && is_digit(text.at[1]) && is_digit(text.at[2]) && is_digit(text.at[3]);
}

/* Parsers refuse some numbers only after they took them for one: those with no digit or too many of them. */
static bool looks_like_bad_number(struct text text)
{
	enum { MANY = 1000 };

	text = unsigned_part(text);
	if (!text.length || !is_digit(text.at[0]))
		return false;
	return text.length > MANY || (text.length > 2 && !is_digit(text.at[1]) && text.at[2] == '_');
}

const char *yaml_check_plain(struct text plain)
{
	if (text_equals(plain, "<<") || text_equals(plain, "="))
		return "merge key";
	if (looks_like_date(plain))
		return "date without quotes";
	if (looks_like_bad_number(plain))
		return "unusual number";
	return NULL;
}

bool yaml_is_null(struct yaml_scalar scalar)
{
	static const char *const NULLS[] = {"", "~", "null", "Null", "NULL", 0};
	const char *const *word = NULLS;

	if (scalar.style != YAML_PLAIN)
		return false;
	while (*word && !text_equals(scalar.text, *word))
		word++;
	return *word;
}

bool yaml_like_number(struct yaml_scalar scalar)
{
	struct text text = unsigned_part(scalar.text);

	return scalar.style == YAML_PLAIN && text.length && (is_digit(text.at[0]) || text.at[0] == '.');
}

/* 0x0, 0b0, 0_0, 0:00, .0, 1.0e-999 and more: sure is only that a leading 1 to 9 without exponent is not zero, nor is what
 * holds two dots or a letter that no number has. */
bool yaml_like_zero(struct yaml_scalar scalar)
{
	struct text text = unsigned_part(scalar.text);
	unsigned dots = 0;
	bool exponent = false;

	if (!yaml_like_number(scalar))
		return false;
	for (size_t i = 0; i < text.length; i++) {
		if (!is_hex(text.at[i]) && !strchr("xXoO_+-.:", text.at[i]))
			return false;
		dots += text.at[i] == '.';
		exponent |= folded(text.at[i]) == 'e';
	}
	return dots < 2 && (exponent || text.at[0] == '0' || text.at[0] == '.');
}

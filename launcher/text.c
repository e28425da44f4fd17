#include "text.h"

#include <errno.h>
#include <string.h>

struct text text_of(const char *string)
{
	return (struct text){string, string ? strlen(string) : 0};
}

char folded(char letter)
{
	return letter >= 'A' && letter <= 'Z' ? (char)(letter + ('a' - 'A')) : letter;
}

bool text_starts_folded(struct text text, const char *lower)
{
	size_t i = 0;

	while (lower[i] && i < text.length && folded(text.at[i]) == lower[i])
		i++;
	return !lower[i];
}

bool text_equals(struct text text, const char *word)
{
	size_t i = 0;

	while (i < text.length && word[i] && text.at[i] == word[i])
		i++;
	return i == text.length && !word[i];
}

bool text_equals_folded(struct text text, const char *lower)
{
	return text_starts_folded(text, lower) && text.length == strlen(lower);
}

bool text_among(struct text text, const char *const *lower_words)
{
	while (*lower_words && !text_equals_folded(text, *lower_words))
		lower_words++;
	return *lower_words;
}

static bool is_space(char c)
{
	return c == ' ' || (c >= '\t' && c <= '\r');
}

struct text text_trimmed(struct text text)
{
	while (text.length && is_space(text.at[0])) {
		text.at++;
		text.length--;
	}
	while (text.length && is_space(text.at[text.length - 1]))
		text.length--;
	return text;
}

unsigned text_port(struct text text)
{
	unsigned number = 0;

	for (size_t i = 0; i < text.length; i++) {
		if (text.at[i] < '0' || text.at[i] > '9')
			return 0;
		number = number * 10 + (unsigned)(text.at[i] - '0');
		if (number > 65535)
			return 0;
	}
	return number;
}

static void write_bytes(struct writer *to, const char *bytes, size_t length)
{
	size_t room = (size_t)(to->end - to->at);

	if (length > room)
		length = room;
	memcpy(to->at, bytes, length);
	to->at += length;
}

void write_text(struct writer *to, const char *string)
{
	write_bytes(to, string, strlen(string));
}

void write_some(struct writer *to, struct text text)
{
	write_bytes(to, text.at, text.length);
}

void write_end(struct writer *to)
{
	*to->at = '\0';
}

void write_number(struct writer *to, uint64_t number)
{
	char digits[20];
	size_t at = sizeof(digits);

	do
		digits[--at] = (char)('0' + number % 10);
	while (number /= 10);
	write_bytes(to, digits + at, sizeof(digits) - at);
}

static void write_escaped(struct writer *to, unsigned char c)
{
	static const char HEX[] = "0123456789abcdef";
	char escape[] = {'\\', 'u', '0', '0', HEX[c >> 4], HEX[c & 15]};

	if (c == '"' || c == '\\')
		write_bytes(to, (char[]){'\\', (char)c}, 2);
	else
		write_bytes(to, escape, sizeof(escape));
}

void write_json(struct writer *to, const char *string)
{
	const char *end = string + strlen(string);

	write_text(to, "\"");
	while (string < end) {
		size_t length = utf8_length(string, end);
		unsigned char c = (unsigned char)*string;

		if (!length)
			write_text(to, "\\ufffd");
		else if (c < ' ' || c == '"' || c == '\\')
			write_escaped(to, c);
		else
			write_bytes(to, string, length);
		string += length ? length : 1;
	}
	write_text(to, "\"");
}

size_t utf8_length(const char *at, const char *end)
{
	const unsigned char *s = (const unsigned char *)at;
	size_t length = s[0] < 0x80 ? 1 : s[0] < 0xc2 ? 0 : s[0] < 0xe0 ? 2 : s[0] < 0xf0 ? 3 : s[0] < 0xf5 ? 4 : 0;

	if (length > (size_t)(end - at))
		return 0;
	for (size_t i = 1; i < length; i++)
		if ((s[i] & 0xc0) != 0x80)
			return 0;
	/* Overlong forms, surrogates, and what lies beyond U+10FFFF. */
	if (length > 2 && ((s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] > 0x9f) || (s[0] == 0xf0 && s[1] < 0x90) ||
			   (s[0] == 0xf4 && s[1] > 0x8f)))
		return 0;
	return length;
}

/* strerror() would bring the translation tables of the C library along. */
const char *error_text(int error)
{
	switch (error) {
	case ENOENT:
		return "No such file or directory";
	case EACCES:
		return "Permission denied";
	case EPERM:
		return "Operation not permitted";
	case EISDIR:
		return "Is a directory";
	case ENOTDIR:
		return "Not a directory";
	case ENOEXEC:
		return "Exec format error";
	case ELOOP:
		return "Too many symbolic links";
	case EIO:
		return "Input/output error";
	case ENOMEM:
		return "Out of memory";
	case ETXTBSY:
		return "Text file busy";
	case ENAMETOOLONG:
		return "File name too long";
	case EINVAL:
		return "Not a regular file";
	case ENFILE:
	case EMFILE:
		return "Too many open files";
	case EAGAIN:
		return "Resource temporarily unavailable";
	case E2BIG:
		return "Environment too large";
	case EADDRINUSE:
		return "Address already in use";
	case ECONNREFUSED:
		return "Connection refused";
	case ECONNRESET:
	case EPIPE:
		return "Connection reset by peer";
	case ETIMEDOUT:
		return "Connection timed out";
	case ENETUNREACH:
	case EHOSTUNREACH:
		return "Host unreachable";
	default:
		return "System error";
	}
}

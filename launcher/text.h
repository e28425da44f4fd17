/* Text by pointer and length, and a writer into a fixed buffer. Letters are compared as ASCII, never by locale. */
#ifndef FLIPTOP_TEXT_H
#define FLIPTOP_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct text {
	const char *at; /* NULL: there is none */
	size_t length;
};

struct text text_of(const char *string);
char folded(char letter);
bool text_equals(struct text text, const char *word);
bool text_equals_folded(struct text text, const char *lower);
bool text_starts_folded(struct text text, const char *lower);
bool text_among(struct text text, const char *const *lower_words);
struct text text_trimmed(struct text text);

/* The number of a port, 0 if the text is none. */
unsigned text_port(struct text text);

/* Writes what fits and drops the rest; `at` never passes `end`. One byte is kept back for a NUL. */
struct writer {
	char *at;
	char *end;
};

#define WRITER(buffer) {(buffer), (buffer) + sizeof(buffer) - 1}

void write_text(struct writer *to, const char *string);
void write_some(struct writer *to, struct text text);
void write_number(struct writer *to, uint64_t number);
void write_json(struct writer *to, const char *string); /* quoted and escaped; broken UTF-8 becomes U+FFFD */
void write_end(struct writer *to);

/* Length of the valid UTF-8 sequence at `at`, 0 if there is none. */
size_t utf8_length(const char *at, const char *end);

/* What an errno means to the person who reads the line. */
const char *error_text(int error);

#endif

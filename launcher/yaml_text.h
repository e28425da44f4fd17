/* The letters and words of YAML 1.1, apart from its structure. */
#ifndef FLIPTOP_YAML_TEXT_H
#define FLIPTOP_YAML_TEXT_H

#include "yaml_scan.h"

/* Why these bytes are no text that the scanner reads, if so. */
struct yaml_problem yaml_check_bytes(struct text document);

/* Length of the escape sequence behind a backslash, 0 if it is not one of the common ones. */
size_t yaml_escape_length(const char *at, const char *end);

/* Why a parser might make of a plain scalar something else than text, a number, a boolean or null; NULL: it does not. */
const char *yaml_check_plain(struct text plain);

bool yaml_is_null(struct yaml_scalar scalar);

/* May a parser make a number of it? */
bool yaml_like_number(struct yaml_scalar scalar);

/* May that number be zero? */
bool yaml_like_zero(struct yaml_scalar scalar);

#endif

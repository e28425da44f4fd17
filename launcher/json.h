/* Lines of JSON: written in pieces, read by key. */
#ifndef FLIPTOP_JSON_H
#define FLIPTOP_JSON_H

#include "text.h"

/* "key": */
void write_key(struct writer *to, const char *key);

/* ,"key":"value" */
void write_pair(struct writer *to, const char *key, const char *value);

/* "path: what the errno means" */
void write_error(struct writer *to, const char *path, int error);

/* ,"key":"path: what the errno means" */
void write_error_pair(struct writer *to, const char *key, const char *path, int error);

/* The value of a string in an object, by its key; empty if there is none. Values with escapes are not looked for. */
struct text json_string(const char *json, const char *key);

/* The value of a number without sign in an object, likewise; 0 if there is none. A fraction is cut off. */
uint64_t json_number(const char *json, const char *key);

#endif

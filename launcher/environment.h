/* What the environment says about the watched fields; rules.py states how values are read. */
#ifndef FLIPTOP_ENVIRONMENT_H
#define FLIPTOP_ENVIRONMENT_H

#include "rules.h"
#include "text.h"

enum answer { NOTHING, NO, YES };

/* The value of a variable by its whole name, NULL if it is not set. */
const char *environment_get(char *const *environment, const char *name);

/* The value of Datadog's variable by its key, which is found behind either prefix and in any case; NULL if not set. */
const char *environment_get_prefixed(char *const *environment, struct text key);

/* What this text says about the field, wherever it was found. */
enum answer field_says(const struct field *field, struct text text);

/* What the environment says about the field. */
enum answer environment_says(char *const *environment, const struct field *field);

/* The same for one key of a wildcard field, without prefix and in any case, such as otlp_config_traces_enabled. */
enum answer environment_says_of(char *const *environment, const struct field *field, struct text key);

#endif

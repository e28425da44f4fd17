/* A scanner for the YAML that people write by hand. What it accepts it reads as a YAML 1.1 parser does (PyYAML is the
 * measure); all else it refuses, with line and reason. It never guesses: README.md lists the subset. */
#ifndef FLIPTOP_YAML_SCAN_H
#define FLIPTOP_YAML_SCAN_H

#include "text.h"

#define YAML_DEPTH 32

enum yaml_style { YAML_PLAIN, YAML_QUOTED, YAML_ESCAPED, YAML_BLOCK };

struct yaml_scalar {
	struct text text; /* as written; for ESCAPED and BLOCK that is not yet its value */
	enum yaml_style style;
};

/* Where the scanner is. A key is on top of the path when it is announced, and until its value ends. */
struct yaml_place {
	struct text path[YAML_DEPTH];
	unsigned depth;
	unsigned lists;   /* how many lists hold this place */
	unsigned mapping; /* which mapping it is in, a different number for each */
};

/* Receives keys and scalars in the order of the file; both answer NULL, or why the file cannot be judged. */
struct yaml_sink {
	const char *(*key)(struct yaml_sink *, const struct yaml_place *, struct yaml_scalar);
	const char *(*leaf)(struct yaml_sink *, const struct yaml_place *, struct yaml_scalar);
};

struct yaml_problem {
	const char *why; /* NULL: none, the file was read to its end */
	unsigned line;
};

struct yaml_problem yaml_scan(struct text document, struct yaml_sink *sink);

#endif

/* What the layer holds, and what the machine beneath it offers. */
#ifndef FLIPTOP_LAYER_H
#define FLIPTOP_LAYER_H

#include <stdbool.h>

#include "program.h"
#include "text.h"

#define PATH_SIZE 4096

struct layer {
	char root[PATH_SIZE];      /* holds extensions/, fliptop/, datadog-agent-go */
	char extension[PATH_SIZE]; /* the new extension */
	char legacy[PATH_SIZE];
	const char *name;          /* base name of the file that Lambda started, the name to register */
	int extension_error;       /* errno that tells why it cannot be started, 0: it can */
	int legacy_error;
	struct program program;    /* the new extension, as its file tells */
};

/* Finds everything relative to the launcher's own file, so that a copy of the layer works anywhere. */
void layer_find(struct layer *layer);

/* Is the machine's GNU C library too old for the extension, or missing? Never, if the extension is a script. */
bool layer_needs_newer_libc(const struct layer *layer);

/* Is the file missing on this machine that loads the extension? */
bool layer_lacks_loader(const struct layer *layer);

enum { CONFIG_LIMIT = 1 << 20 };

struct config {
	char path[PATH_SIZE];
	struct text text; /* empty without a file, or with one that cannot be judged here */
	int error;        /* errno of a file that is there and cannot be read */
	bool too_long;    /* more than CONFIG_LIMIT bytes */
};

/* Read datadog.yaml from the directory LAMBDA_TASK_ROOT. A missing file is an empty one. */
void config_read(struct config *config, char *const *environment);

#endif

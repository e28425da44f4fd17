/* What the layer was made of and with, as its manifest says. */
#ifndef FLIPTOP_PROVENANCE_H
#define FLIPTOP_PROVENANCE_H

#include "layer.h"

/* One row for each thing that the manifest tells; nothing without a manifest. */
void write_provenance(struct writer *to, const struct layer *layer);

/* The same as an object of JSON: {"arch":"x86_64",…}. */
void write_provenance_json(struct writer *to, const struct layer *layer);

#endif

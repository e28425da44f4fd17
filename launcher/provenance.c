#include "provenance.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "json.h"

enum { MANIFEST_LIMIT = 64 << 10, SAID_SIZE = 256 };

/* Keys of the manifest, which build/layer.py writes, in the order in which they are told. */
static const struct {
	const char *key;
	const char *title;
} STRINGS[] = {
	{"flavour", "flavour     "},	     {"arch", "machine     "},	   {"glibc", "glibc       "},
	{"python", "python      "},	     {"nuitka", "nuitka      "},   {"revision", "commit      "},
	{"sources", "sources     "},	     {"base_image", "built on    "}, {"releasever", "release     "},
	{"legacy_image", "legacy from "},
};
static const struct {
	const char *key;
	const char *title;
	const char *name;
} FILES[] = {{"bill", "bill        ", "/fliptop/sbom.cdx.json"}, {"licences", "licences    ", "/fliptop/LICENSES.txt"}};

enum { STRING_COUNT = sizeof(STRINGS) / sizeof(*STRINGS), FILE_COUNT = sizeof(FILES) / sizeof(*FILES) };

static void find(char path[PATH_SIZE], const struct layer *layer, const char *name)
{
	struct writer to = {path, path + PATH_SIZE - 1};

	write_text(&to, layer->root);
	write_text(&to, name);
	write_end(&to);
}

/* The whole of it, or an empty text: half of it would say something wrong. */
static const char *manifest_of(const struct layer *layer)
{
	static char text[MANIFEST_LIMIT];
	char path[PATH_SIZE];
	ssize_t got = 1;
	size_t length = 0;
	int file;

	find(path, layer, "/fliptop/manifest.json");
	file = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	while (file >= 0 && length < sizeof(text) && (got = read(file, text + length, sizeof(text) - length)) > 0)
		length += (size_t)got;
	if (file >= 0)
		close(file);
	text[got || length == sizeof(text) ? 0 : length] = '\0';
	return text;
}

static const char *said(const char *manifest, const char *key, char text[SAID_SIZE])
{
	struct writer to = {text, text + SAID_SIZE - 1};

	write_some(&to, json_string(manifest, key));
	write_end(&to);
	return text;
}

static void write_row(struct writer *to, const char *title, const char *text)
{
	write_text(to, title);
	write_text(to, text);
	write_text(to, "\n");
}

void write_provenance(struct writer *to, const struct layer *layer)
{
	const char *manifest = manifest_of(layer);
	uint64_t packages = json_number(manifest, "package_count");
	char text[SAID_SIZE], path[PATH_SIZE];

	for (size_t i = 0; i < STRING_COUNT; i++)
		if (*said(manifest, STRINGS[i].key, text))
			write_row(to, STRINGS[i].title, text);
	if (packages) {
		write_text(to, "packages    ");
		write_number(to, packages);
		write_text(to, "\n");
	}
	for (size_t i = 0; i < FILE_COUNT; i++) {
		find(path, layer, FILES[i].name);
		if (!access(path, R_OK))
			write_row(to, FILES[i].title, path);
	}
}

void write_provenance_json(struct writer *to, const struct layer *layer)
{
	const char *manifest = manifest_of(layer);
	char text[SAID_SIZE], path[PATH_SIZE];

	write_text(to, "{\"package_count\":");
	write_number(to, json_number(manifest, "package_count"));
	for (size_t i = 0; i < STRING_COUNT; i++)
		if (*said(manifest, STRINGS[i].key, text))
			write_pair(to, STRINGS[i].key, text);
	for (size_t i = 0; i < FILE_COUNT; i++) {
		find(path, layer, FILES[i].name);
		if (!access(path, R_OK))
			write_pair(to, FILES[i].key, path);
	}
	write_text(to, "}");
}

#include "layer.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/stat.h>
#include <unistd.h>

#include "environment.h"
#include "rules.h"
#include "testing.h"

/* A path that does not fit is cut, names nothing, and is then told as missing. */
static void join(char path[PATH_SIZE], const char *directory, const char *rest)
{
	struct writer to = {path, path + PATH_SIZE - 1};

	write_text(&to, directory);
	write_text(&to, rest);
	write_end(&to);
}

static const char *base_name(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? slash + 1 : path;
}

/* "/opt/extensions/datadog-agent" → "/opt/extensions" → "/opt" → ""; "datadog-agent" → "." */
static void to_parent(char *path)
{
	char *slash = strrchr(path, '/');

	if (slash)
		*slash = '\0';
	else if (*path)
		memcpy(path, ".", 2);
}

static const char *started_as(void)
{
	const char *path = (const char *)getauxval(AT_EXECFN);

	return path ? path : "";
}

static void find_root(char root[PATH_SIZE])
{
	ssize_t length = readlink("/proc/self/exe", root, PATH_SIZE - 1);

	if (length > 0) {
		root[length] = '\0';
		to_parent(root);
		to_parent(root);
		if (!*root)
			memcpy(root, "/", 2);
		return;
	}
	/* No /proc: what Lambda gave to exec() is absolute, and good enough anywhere else. */
	join(root, started_as(), "");
	to_parent(root);
	strncat(root, "/..", PATH_SIZE - 1 - strlen(root));
}

void layer_find(struct layer *layer)
{
	find_root(layer->root);
	join(layer->extension, layer->root, "/fliptop/fliptop");
	join(layer->legacy, layer->root, "/datadog-agent-go");
	layer->name = base_name(started_as());
	layer->extension_error = program_error(layer->extension, &layer->program);
	layer->legacy_error = file_error(layer->legacy);
}

static unsigned minor_version(const char *name)
{
	unsigned version = 0;

	for (; *name >= '0' && *name <= '9' && version < 1000; name++)
		version = version * 10 + (unsigned)(*name - '0');
	return version;
}

/* Up to 2.33, glibc installs libc.so.6 as a link to libc-2.33.so; from 2.34 on it is a file itself. */
static bool is_new_enough(const char *libc)
{
	static const char NUMBERED[] = "libc-2.";
	char target[PATH_SIZE];
	ssize_t length = readlink(libc, target, sizeof(target) - 1);
	const char *name;

	if (length < 0)
		return errno == EINVAL;
	target[length] = '\0';
	name = base_name(target);
	return !strncmp(name, NUMBERED, strlen(NUMBERED)) && minor_version(name + strlen(NUMBERED)) >= MINIMUM_GLIBC_MINOR;
}

bool layer_needs_newer_libc(const struct layer *layer)
{
	static const char *const PLACES[] = {
		"/lib64/libc.so.6",
#ifdef __aarch64__
		"/lib/aarch64-linux-gnu/libc.so.6",
		"/usr/lib/aarch64-linux-gnu/libc.so.6",
#else
		"/lib/x86_64-linux-gnu/libc.so.6",
		"/usr/lib/x86_64-linux-gnu/libc.so.6",
#endif
		"/usr/lib64/libc.so.6",
		"/usr/lib/libc.so.6",
	};
	char path[PATH_SIZE];
	struct stat status;

	if (layer->extension_error || layer->program.is_script)
		return false;
	for (size_t i = 0; i < sizeof(PLACES) / sizeof(*PLACES); i++) {
		join(path, LIBC_ROOT, PLACES[i]);
		if (!lstat(path, &status))
			return !is_new_enough(path);
	}
	return true;
}

bool layer_lacks_loader(const struct layer *layer)
{
	char path[PATH_SIZE];

	join(path, LIBC_ROOT, layer->program.loader);
	return layer->program.loader[0] && access(path, F_OK);
}

/* Fills `buffer` until the end of the file; -1 and errno if that fails. */
static ssize_t read_all(int file, char *buffer, size_t size)
{
	size_t length = 0;
	ssize_t got;

	while (length < size) {
		got = read(file, buffer + length, size - length);
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return -1;
		if (!got)
			break;
		length += (size_t)got;
	}
	return (ssize_t)length;
}

static int config_file_error(int file)
{
	struct stat status;

	if (fstat(file, &status))
		return errno;
	return S_ISREG(status.st_mode) ? 0 : S_ISDIR(status.st_mode) ? EISDIR : EINVAL;
}

void config_read(struct config *config, char *const *environment)
{
	static char bytes[CONFIG_LIMIT + 1];
	const char *directory = environment_get(environment, "LAMBDA_TASK_ROOT");
	ssize_t length = 0;
	int file;

	config->text = text_of("");
	join(config->path, directory && *directory ? directory : "/var/task", "/datadog.yaml");
	file = open(config->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a pipe must not hold the start */
	if (file < 0) {
		config->error = errno == ENOENT || errno == ENOTDIR ? 0 : errno;
		return;
	}
	config->error = config_file_error(file);
	if (!config->error)
		length = read_all(file, bytes, sizeof(bytes));
	if (length < 0)
		config->error = errno;
	close(file);
	config->too_long = length > CONFIG_LIMIT;
	if (length > 0 && !config->too_long)
		config->text = (struct text){bytes, (size_t)length};
}

#include "verdict.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "testing.h"
#include "version.h"

enum { VERDICT_SIZE = 256 };

static void find_path(char path[PATH_SIZE])
{
	struct writer to = {path, path + PATH_SIZE - 1};

	write_text(&to, TMP);
	write_text(&to, "/.fliptop-cannot-start");
	write_end(&to);
}

/* Which file was judged: another layer, or the same one mended, is not that file. */
static bool write_subject(struct writer *to, const struct layer *layer)
{
	struct stat status;

	if (stat(layer->extension, &status))
		return false;
	write_text(to, "fliptop " VERSION);
	for (size_t i = 0; i < 4; i++) {
		write_text(to, " ");
		write_number(to, (uint64_t[]){status.st_dev, status.st_ino, (uint64_t)status.st_size,
					      (uint64_t)status.st_mtim.tv_sec}[i]);
	}
	write_text(to, ": ");
	write_end(to);
	return true;
}

/* Only a file of our own: nobody else's word counts. */
static int open_own(const char *path)
{
	int file = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOFOLLOW | O_NOCTTY);
	struct stat status;

	if (file < 0)
		return -1;
	if (!fstat(file, &status) && S_ISREG(status.st_mode) && status.st_uid == geteuid() && status.st_nlink == 1)
		return file;
	close(file);
	return -1;
}

/* One line of plain text, to its end. */
static bool take_cause(const char *said, char cause[VERDICT_CAUSE_SIZE])
{
	size_t length = 0;

	while (said[length] >= ' ' && said[length] <= '~' && length < VERDICT_CAUSE_SIZE - 1) {
		cause[length] = said[length];
		length++;
	}
	cause[length] = '\0';
	return length && said[length] == '\n';
}

bool verdict_find(const struct layer *layer, char cause[VERDICT_CAUSE_SIZE])
{
	char path[PATH_SIZE], said[VERDICT_SIZE], subject[VERDICT_SIZE];
	struct writer to = WRITER(subject);
	ssize_t length;
	int file;

	find_path(path);
	file = open_own(path);
	if (file < 0)
		return false;
	length = read(file, said, sizeof(said) - 1);
	close(file);
	said[length > 0 ? length : 0] = '\0';
	return length > 0 && write_subject(&to, layer) && !strncmp(said, subject, strlen(subject)) &&
	       take_cause(said + strlen(subject), cause);
}

bool verdict_keep(const struct layer *layer, const char *cause)
{
	char path[PATH_SIZE], line[VERDICT_SIZE];
	struct writer to = WRITER(line);
	ssize_t written;
	int file;

	find_path(path);
	unlink(path); /* that of another layer */
	file = write_subject(&to, layer) ? open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600) : -1;
	if (file < 0)
		return false;
	write_text(&to, cause);
	write_text(&to, "\n");
	written = write(file, line, (size_t)(to.at - line));
	close(file);
	return written == to.at - line;
}

#include "settle.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "child.h"

enum { PATIENCE_MS = 5000, SAID_SIZE = 512 };

static void become_settler(const struct layer *layer, int end, char *const *environment)
{
	char *arguments[] = {(char *)layer->extension, "--settle", NULL};

	if (dup2(end, STDOUT_FILENO) >= 0)
		execve(layer->extension, arguments, environment);
	_exit(CANNOT_EXECUTE);
}

static int milliseconds_since(const struct timespec *moment)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int)((now.tv_sec - moment->tv_sec) * 1000 + (now.tv_nsec - moment->tv_nsec) / 1000000);
}

/* Everything it says, until its end; false if that does not come in time. */
static bool hear(int socket_, char said[SAID_SIZE])
{
	struct pollfd wait = {.fd = socket_, .events = POLLIN};
	size_t length = 0;
	struct timespec began;
	int left = PATIENCE_MS;
	ssize_t got = 1;

	clock_gettime(CLOCK_MONOTONIC, &began);
	for (; got && left > 0 && length < SAID_SIZE - 1; left = PATIENCE_MS - milliseconds_since(&began)) {
		if (poll(&wait, 1, left) <= 0)
			continue;
		got = read(socket_, said + length, SAID_SIZE - 1 - length);
		if (got < 0 && errno != EINTR)
			break;
		length += got > 0 ? (size_t)got : 0;
	}
	said[length] = '\0';
	return left > 0;
}

/* "settled otel fips\n": a word, then reasons. Those that are none of ours do not count. */
static bool take_reasons(struct decision *decision, char *said)
{
	static const char SETTLED[] = "settled";
	size_t length = strlen(said);
	char *rest;

	if (!length || said[length - 1] != '\n' || strncmp(said, SETTLED, strlen(SETTLED)))
		return false;
	for (char *word = strtok_r(said + strlen(SETTLED), " \n", &rest); word; word = strtok_r(NULL, " \n", &rest))
		for (unsigned n = 0; n < REASON_COUNT; n++)
			if (!strcmp(word, REASONS[n].name))
				decision->reasons |= UINT32_C(1) << n;
	return true;
}

bool settle(struct start *start, char *const *environment)
{
	struct child child = {.process = -1, .books = -1};
	struct writer to = WRITER(start->died);
	char said[SAID_SIZE] = "";
	bool in_time = true;
	int end = child_fork(&child);
	struct death death = {.unborn_error = errno}; /* unless there is one */

	if (end > 0)
		become_settler(&start->layer, end, environment);
	if (!end) {
		in_time = hear(child.socket, said);
		if (!in_time)
			child_kill(&child);
		death = child_reap(&child);
		death.is_hung = !in_time;
	}
	if (in_time && take_reasons(&start->decision, said))
		return true;
	write_cause(&to, &death);
	return false;
}

#include "child.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "handover.h"

enum { CANNOT_EXECUTE = 126, REAP_PAUSE_MS = 5, REAP_TRIES = 20 };

/* --- start --- */

static void become_child(const struct child *child, int end, const struct start *start, const struct ready *ready,
			 char *const *environment)
{
	const struct handover handover = {ready, "guard", end, child->books};
	int error;

	prctl(PR_SET_PDEATHSIG, SIGKILL); /* nobody would ask for events in its place */
	error = execute_extension(start, &handover, environment);
	if (child->ledger)
		child->ledger->exec_error = (uint64_t)error;
	_exit(CANNOT_EXECUTE);
}

bool child_start(struct child *child, const struct start *start, const struct ready *ready, char *const *environment)
{
	int ends[2];

	if (own_pair(ends))
		return false;
	child->id = fork();
	if (!child->id)
		become_child(child, ends[1], start, ready, environment);
	close(ends[1]);
	if (child->id < 0) {
		close(ends[0]);
		child->id = 0;
		return false;
	}
	child->socket = ends[0];
	child->matched = 0;
	return true;
}

/* --- hear --- */

int child_requests(struct child *child)
{
	static const char END[] = "\r\n\r\n";
	char bytes[1024];
	ssize_t got = recv(child->socket, bytes, sizeof(bytes), MSG_DONTWAIT);
	int requests = 0;

	if (got < 0)
		return errno == EINTR || errno == EAGAIN ? 0 : -1;
	/* Nothing but GET /event/next is ever asked here, and that has no body: a request is a head. */
	for (ssize_t i = 0; i < got; i++) {
		child->matched = bytes[i] == END[child->matched] ? child->matched + 1 : bytes[i] == END[0];
		if (!END[child->matched]) {
			child->matched = 0;
			requests++;
		}
	}
	return got ? requests : -1;
}

void child_answer(const struct child *child, const char *event)
{
	char response[HTTP_BODY_KEPT + 256];
	struct writer to = WRITER(response);

	write_text(&to, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: ");
	write_number(&to, strlen(event));
	write_text(&to, "\r\n\r\n");
	write_text(&to, event);
	/* One event at a time: there is room for it. Should it fail, the child has ended, which is seen next. */
	while (send(child->socket, response, (size_t)(to.at - response), MSG_NOSIGNAL) < 0 && errno == EINTR)
		;
}

/* --- end --- */

void child_kill(const struct child *child)
{
	kill(child->id, SIGKILL);
}

int child_reap(struct child *child)
{
	const struct timespec pause = {.tv_nsec = REAP_PAUSE_MS * 1000000L};
	int status = 0, tries = 0;
	pid_t reaped;

	close(child->socket);
	while (!(reaped = waitpid(child->id, &status, WNOHANG)) || (reaped < 0 && errno == EINTR)) {
		if (++tries == REAP_TRIES)
			child_kill(child); /* it has closed its end, and lives on */
		nanosleep(&pause, NULL);
	}
	child->id = 0;
	child->socket = -1;
	return status;
}

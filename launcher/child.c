#include "child.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "handover.h"
#include "json.h"

enum { REAP_PAUSE_MS = 5, REAP_TRIES = 20 };

/* --- start --- */

static void become_child(const struct child *child, int end, const struct start *start, const struct ready *ready,
			 char *const *environment)
{
	const struct handover handover = {ready, "guard", end, child->books};
	int error = execute_extension(start, &handover, environment);

	if (child->ledger)
		child->ledger->exec_error = (uint64_t)error;
	_exit(CANNOT_EXECUTE);
}

int child_fork(struct child *child)
{
	int ends[2], error;

	if (own_pair(ends))
		return -1;
	child->id = fork();
	if (!child->id) {
		prctl(PR_SET_PDEATHSIG, SIGKILL); /* nobody would ask for events in its place */
		return ends[1];
	}
	error = errno;
	close(ends[1]);
	child->socket = ends[0];
	if (child->id > 0)
		return 0;
	close(ends[0]);
	errno = error;
	child->id = 0;
	child->socket = -1;
	return -1;
}

bool child_start(struct child *child, const struct start *start, const struct ready *ready, char *const *environment)
{
	int end = child_fork(child);

	if (end > 0)
		become_child(child, end, start, ready, environment);
	if (end < 0)
		return false;
	child->process = (int)syscall(SYS_pidfd_open, child->id, 0);
	child->matched = 0;
	return true;
}

/* --- hear --- */

static bool has_exited(const struct child *child)
{
	siginfo_t info = {0};

	return waitid(P_PID, (id_t)child->id, &info, WEXITED | WNOHANG | WNOWAIT) || info.si_pid;
}

int child_requests(struct child *child)
{
	static const char END[] = "\r\n\r\n";
	char bytes[1024];
	ssize_t got = recv(child->socket, bytes, sizeof(bytes), MSG_DONTWAIT);
	int requests = 0;

	/* A process that it has forked may hold its end open. */
	if (got < 0)
		return errno == EAGAIN && !has_exited(child) ? 0 : -1;
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

/* --- answer --- */

/* What can be said of an event that is too long to be kept. */
static void summarize(const struct http_response *event, struct writer *to)
{
	static const char *const STRINGS[] = {"requestId", "invokedFunctionArn", "shutdownReason"};

	write_text(to, "{\"deadlineMs\":");
	write_number(to, json_number(event->body, "deadlineMs"));
	write_text(to, ",\"eventType\":\"");
	write_some(to, json_string(event->body, "eventType"));
	for (size_t i = 0; i < sizeof(STRINGS) / sizeof(*STRINGS); i++) {
		write_text(to, "\",\"");
		write_text(to, STRINGS[i]);
		write_text(to, "\":\"");
		write_some(to, json_string(event->body, STRINGS[i]));
	}
	write_text(to, "\"}");
	write_end(to);
}

void child_answer(const struct child *child, const struct http_response *event)
{
	char response[HTTP_BODY_KEPT + 256], summary[2048];
	struct writer to = WRITER(response), summary_to = WRITER(summary);
	const char *body = event->body;

	if (event->body_length > HTTP_BODY_KEPT) {
		summarize(event, &summary_to);
		body = summary;
	}
	write_text(&to, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: ");
	write_number(&to, strlen(body));
	write_text(&to, "\r\n\r\n");
	write_text(&to, body);
	/* One event at a time: whoever reads them has room for it. */
	if (send(child->socket, response, (size_t)(to.at - response), MSG_DONTWAIT | MSG_NOSIGNAL) != to.at - response)
		child_kill(child);
}

/* --- end --- */

void child_kill(const struct child *child)
{
	kill(child->id, SIGKILL);
}

struct death child_reap(struct child *child)
{
	const struct timespec pause = {.tv_nsec = REAP_PAUSE_MS * 1000000L};
	int status = 0, tries = 0;
	pid_t reaped;

	close(child->socket);
	if (child->process >= 0)
		close(child->process);
	while (!(reaped = waitpid(child->id, &status, WNOHANG)) || (reaped < 0 && errno == EINTR)) {
		if (++tries == REAP_TRIES)
			child_kill(child); /* it has closed its end, and lives on */
		nanosleep(&pause, NULL);
	}
	child->id = 0;
	child->socket = child->process = -1;
	return (struct death){
		.signal = WIFSIGNALED(status) ? WTERMSIG(status) : 0,
		.exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : 0,
	};
}

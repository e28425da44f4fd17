#include "count.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "environment.h"
#include "testing.h"
#include "version.h"

enum { PAUSE_MS = 50, TRIES = 200, METRIC_SIZE = 512 };

/* Commas, bars and line breaks would end the tag. */
static void write_tag(struct writer *to, const char *name, const char *value)
{
	write_text(to, name);
	for (; *value; value++) {
		char c = folded(*value);
		bool plain = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || strchr("-_./:$", c);

		write_text(to, (char[]){plain ? c : '_', '\0'});
	}
}

static size_t compose(struct text counter, const char *tag, const char *value, char *const *environment, char *buffer)
{
	struct writer to = {buffer, buffer + METRIC_SIZE - 1};
	const char *function = environment_get(environment, "AWS_LAMBDA_FUNCTION_NAME");

	write_some(&to, counter);
	write_text(&to, "|c|#");
	write_tag(&to, tag, value);
	write_tag(&to, ",layer_version:", VERSION);
	if (function && *function)
		write_tag(&to, ",functionname:", function);
	return (size_t)(to.at - buffer);
}

static int connected_socket(void)
{
	struct sockaddr_in to = {.sin_family = AF_INET,
				 .sin_port = htons((unsigned short)text_port(text_of(STATSD_PORT))),
				 .sin_addr = {htonl(INADDR_LOOPBACK)}};
	int socket_ = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (socket_ < 0 || connect(socket_, (struct sockaddr *)&to, sizeof(to)))
		return -1;
	return socket_;
}

/* Lambda waits for the ends of stdout and stderr; whatever else is open is none of ours either. */
static void close_all_but(int keep)
{
	dup2(keep, 0);
#ifdef SYS_close_range
	if (!syscall(SYS_close_range, 1u, ~0u, 0u))
		return;
#endif
	for (int file = 1; file < 1024; file++)
		close(file);
}

static bool was_refused(int socket_)
{
	struct pollfd wait = {.fd = socket_};
	int error = 0;
	socklen_t size = sizeof(error);

	if (poll(&wait, 1, PAUSE_MS) <= 0)
		return false; /* on the loopback interface a refusal is there long before */
	getsockopt(socket_, SOL_SOCKET, SO_ERROR, &error, &size);
	return error;
}

/* Nobody listens yet: the kernel refuses what is sent until the extension has opened its socket. */
static void send_until_accepted(int socket_, const char *metric, size_t length, pid_t extension)
{
	const struct timespec pause = {.tv_nsec = PAUSE_MS * 1000000L};

	for (int i = 0; i < TRIES && !kill(extension, 0); i++) {
		if (send(socket_, metric, length, MSG_DONTWAIT | MSG_NOSIGNAL) == (ssize_t)length && !was_refused(socket_))
			return;
		nanosleep(&pause, NULL);
	}
}

static void run_counter(const char *metric, size_t length, pid_t extension)
{
	int socket_ = connected_socket();

	if (socket_ < 0)
		return;
	prctl(PR_SET_NAME, "fliptop-count");
	close_all_but(socket_);
	send_until_accepted(0, metric, length, extension);
}

static void count(const char *metric, size_t length)
{
	pid_t extension = getpid();
	pid_t child = fork();

	if (child < 0)
		return; /* at a limit of processes the counter is what can be spared */
	if (child == 0) {
		if (fork() == 0)
			run_counter(metric, length, extension);
		_exit(0);
	}
	while (waitpid(child, NULL, 0) < 0 && errno == EINTR)
		;
}

void count_fallback(const char *reason, char *const *environment)
{
	char metric[METRIC_SIZE];

	count(metric, compose(text_of("fliptop.fallback:1"), "reason:", reason, environment, metric));
}

void count_deaths_of_extension(unsigned deaths, const struct death *last, char *const *environment)
{
	char metric[METRIC_SIZE], counter[64], cause[32];
	struct writer to = WRITER(counter), cause_to = WRITER(cause);

	write_text(&to, "fliptop.extension.deaths:");
	write_number(&to, deaths);
	write_end(&to);
	write_cause(&cause_to, last);
	count(metric, compose(text_of(counter), "cause:", cause, environment, metric));
}

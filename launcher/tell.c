#include "tell.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "json.h"
#include "version.h"

enum { FULL_MS = 100 }; /* how long a line waits for somebody to read those before it */

void say(const char *bytes, size_t length)
{
	struct sigaction ignore = {.sa_handler = SIG_IGN}, before;

	sigaction(SIGPIPE, &ignore, &before);
	while (length) {
		struct pollfd out = {.fd = STDOUT_FILENO, .events = POLLOUT};
		ssize_t written = poll(&out, 1, FULL_MS);

		if (written > 0) /* there is room for this much without waiting */
			written = write(STDOUT_FILENO, bytes, length < PIPE_BUF ? length : PIPE_BUF);
		if (!written || (written < 0 && errno != EINTR))
			break;
		if (written > 0) {
			bytes += written;
			length -= (size_t)written;
		}
	}
	sigaction(SIGPIPE, &before, NULL); /* whatever is started next inherits it */
}

const char *first_reason(const struct decision *decision)
{
	unsigned reason = 0;

	while (reason < REASON_COUNT - 1 && !(decision->reasons >> reason & 1))
		reason++;
	return REASONS[reason].name;
}

void write_microseconds(struct writer *to, uint64_t ns)
{
	write_number(to, ns / 1000);
	write_text(to, ".");
	write_number(to, ns / 100 % 10);
}

void write_reasons(struct writer *to, uint32_t reasons)
{
	const char *comma = "";

	write_text(to, ",\"reasons\":[");
	for (unsigned n = 0; n < REASON_COUNT; n++)
		if (reasons >> n & 1) {
			write_text(to, comma);
			write_json(to, REASONS[n].name);
			comma = ",";
		}
	write_text(to, "]");
}

static bool has(const struct start *start, enum reason reason)
{
	return start->decision.reasons >> reason & 1;
}

void write_detail(struct writer *to, const struct start *start)
{
	if (start->layer.extension_error)
		write_error_pair(to, "detail", start->layer.extension, start->layer.extension_error);
	else if (has(start, REASON_LOADER))
		write_error_pair(to, "detail", start->layer.program.loader, ENOENT);
	else if (has(start, REASON_FAILED_TO_START))
		write_pair(to, "detail", start->died);
}

void write_common(struct writer *to, const struct start *start)
{
	if (start->decision.unsure[0])
		write_pair(to, "unsure", start->decision.unsure);
	write_pair(to, "layer_version", VERSION);
	write_text(to, ",\"decision_us\":");
	write_microseconds(to, start->decision.took_ns);
}

void say_line(struct writer *to, const char *line)
{
	write_text(to, "}\n");
	say(line, (size_t)(to->at - line));
}

static void begin_line(struct writer *to, const char *key)
{
	write_text(to, "{");
	write_key(to, key);
}

void tell_fallback(const struct start *start)
{
	char line[LINE_SIZE];
	struct writer to = WRITER(line);

	begin_line(&to, "DD_EXTENSION_FALLBACK_REASON");
	write_json(&to, first_reason(&start->decision));
	write_reasons(&to, start->decision.reasons);
	write_detail(&to, start);
	write_common(&to, start);
	say_line(&to, line);
}

void tell_unavailable(const struct start *start)
{
	char line[LINE_SIZE];
	struct writer to = WRITER(line);

	begin_line(&to, "DD_EXTENSION_FALLBACK_UNAVAILABLE");
	write_json(&to, first_reason(&start->decision));
	write_reasons(&to, start->decision.reasons);
	write_detail(&to, start);
	write_error_pair(&to, "legacy", start->layer.legacy, start->layer.legacy_error);
	write_pair(&to, "starting", start->layer.extension);
	write_common(&to, start);
	say_line(&to, line);
}

void tell_unreadable(const struct start *start)
{
	char line[LINE_SIZE];
	struct writer to = WRITER(line);

	begin_line(&to, "DD_EXTENSION_CONFIG_UNREADABLE");
	write_error(&to, start->config.path, start->config.error);
	write_pair(&to, "what_to_do", "Package datadog.yaml as a regular file that all users may read (chmod 644).");
	write_common(&to, start);
	say_line(&to, line);
}

void tell_cannot_start(const struct start *start)
{
	char line[LINE_SIZE];
	struct writer to = WRITER(line);

	begin_line(&to, "DD_EXTENSION_CANNOT_START");
	write_json(&to, "the layer holds no extension that can be started");
	write_error_pair(&to, "extension", start->layer.extension, start->layer.extension_error);
	write_error_pair(&to, "legacy", start->layer.legacy, start->layer.legacy_error);
	write_pair(&to, "what_to_do", "Attach the published layer for the function's architecture again, or remove it.");
	write_common(&to, start);
	say_line(&to, line);
}

void tell_cannot_listen(const struct start *start, const struct listener *listener)
{
	char line[LINE_SIZE], port[32], what_happens[160];
	struct writer to = WRITER(line), port_to = WRITER(port), what_happens_to = WRITER(what_happens);

	write_text(&port_to, "port ");
	write_text(&port_to, listener->port);
	write_end(&port_to);
	write_text(&what_happens_to, "The extension runs without this listener: ");
	write_text(&what_happens_to, listener->loss);
	write_text(&what_happens_to, ".");
	write_end(&what_happens_to);
	begin_line(&to, "DD_EXTENSION_CANNOT_LISTEN");
	write_error(&to, port, listener->error);
	write_pair(&to, "listener", listener->name);
	write_pair(&to, "what_happens", what_happens);
	write_common(&to, start);
	say_line(&to, line);
}

void tell_no_telemetry(const struct start *start, const char *why)
{
	char line[LINE_SIZE];
	struct writer to = WRITER(line);

	begin_line(&to, "DD_EXTENSION_NO_TELEMETRY");
	write_json(&to, why);
	write_pair(&to, "what_happens", "The extension runs, but the platform delivers no logs to it.");
	write_common(&to, start);
	say_line(&to, line);
}

void tell_cannot_register(const struct start *start, const char *address, const char *why)
{
	char line[LINE_SIZE];
	struct writer to = WRITER(line);

	begin_line(&to, "DD_EXTENSION_CANNOT_REGISTER");
	write_json(&to, why);
	write_pair(&to, "runtime_api", address);
	write_pair(&to, "name", start->layer.name);
	write_common(&to, start);
	say_line(&to, line);
}

void tell_alone(const struct start *start, int error)
{
	char line[LINE_SIZE];
	struct writer to = WRITER(line);

	begin_line(&to, "DD_EXTENSION_CANNOT_START");
	write_json(&to, "the extension is registered, but cannot be executed");
	write_error_pair(&to, "extension", start->layer.extension, error);
	write_pair(&to, "what_happens", "The function runs without Datadog.");
	write_pair(&to, "what_to_do", "Attach the published layer for the function's architecture again, or remove it.");
	write_common(&to, start);
	say_line(&to, line);
}

void tell_too_late(const struct start *start, const char *cause, bool is_kept)
{
	char line[LINE_SIZE];
	struct writer to = WRITER(line);

	begin_line(&to, "DD_EXTENSION_FALLBACK_TOO_LATE");
	write_json(&to, REASONS[REASON_FAILED_TO_START].name);
	write_reasons(&to, UINT32_C(1) << REASON_FAILED_TO_START);
	write_pair(&to, "detail", cause);
	write_pair(&to, "what_happens",
		   is_kept && !start->layer.legacy_error
			   ? "The launcher serves this environment alone, without Datadog. When Lambda initialises it again, "
			     "the legacy extension does."
			   : "The launcher serves this environment alone, without Datadog.");
	write_common(&to, start);
	say_line(&to, line);
}

/* --- the guard --- */

static void write_signal(struct writer *to, int signal_)
{
	static const struct {
		int number;
		const char *name;
	} NAMES[] = {{SIGKILL, "SIGKILL"}, {SIGSEGV, "SIGSEGV"}, {SIGABRT, "SIGABRT"}, {SIGBUS, "SIGBUS"},
		     {SIGILL, "SIGILL"},   {SIGFPE, "SIGFPE"},	 {SIGTERM, "SIGTERM"}, {SIGINT, "SIGINT"}};

	for (size_t i = 0; i < sizeof(NAMES) / sizeof(*NAMES); i++)
		if (NAMES[i].number == signal_) {
			write_text(to, NAMES[i].name);
			return;
		}
	write_text(to, "signal ");
	write_number(to, (uint64_t)signal_);
}

void write_cause(struct writer *to, const struct death *death)
{
	if (death->unborn_error) {
		write_text(to, "fork");
	} else if (death->is_hung) {
		write_text(to, "hang");
	} else if (death->signal) {
		write_signal(to, death->signal);
	} else {
		write_text(to, "exit ");
		write_number(to, (uint64_t)death->exit_code);
	}
	write_end(to);
}

static const char *what_follows(const struct death *death, bool was_last)
{
	if (was_last)
		return "The function runs without Datadog.";
	return death->phase == SERVING ? "It is started again; what this invocation has left to tell is sent with the next."
				       : "It is started again.";
}

void tell_death(const struct start *start, const struct death *death, unsigned deaths, bool was_last,
		const volatile struct books *books)
{
	static const char *const PHASES[] = {"loading", "waiting for an event", "serving an event"};
	char line[LINE_SIZE + BOOKS_SIZE * 2], cause[32];
	struct writer to = WRITER(line), cause_to = WRITER(cause);

	write_cause(&cause_to, death);
	begin_line(&to, "DD_EXTENSION_DIED");
	write_json(&to, cause);
	write_text(&to, ",\"signal\":");
	write_number(&to, (uint64_t)death->signal);
	write_text(&to, ",\"exit_code\":");
	write_number(&to, (uint64_t)death->exit_code);
	write_pair(&to, "while", PHASES[death->phase]);
	write_text(&to, ",\"deaths\":");
	write_number(&to, deaths);
	if (books)
		write_books(&to, books);
	if (death->unborn_error)
		write_pair(&to, "detail", error_text(death->unborn_error));
	write_pair(&to, "what_happens", what_follows(death, was_last));
	write_common(&to, start);
	say_line(&to, line);
}

void tell_late(const struct start *start, bool has_loaded)
{
	char line[LINE_SIZE];
	struct writer to = WRITER(line);

	begin_line(&to, "DD_EXTENSION_LATE");
	write_json(&to, has_loaded ? "the extension has not asked for the next event in time"
				   : "the extension has not loaded in time to serve an event");
	write_pair(&to, "what_happens", "The launcher asks in its place. This is told once.");
	write_common(&to, start);
	say_line(&to, line);
}

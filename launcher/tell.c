#include "tell.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "version.h"

#define LINE_SIZE (5 * PATH_SIZE)

void say(const char *bytes, size_t length)
{
	struct sigaction ignore = {.sa_handler = SIG_IGN}, before;

	sigaction(SIGPIPE, &ignore, &before);
	while (length) {
		ssize_t written = write(STDOUT_FILENO, bytes, length);

		if (written < 0 && errno != EINTR)
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

static void write_key(struct writer *to, const char *key)
{
	write_json(to, key);
	write_text(to, ":");
}

static void write_pair(struct writer *to, const char *key, const char *value)
{
	write_text(to, ",");
	write_key(to, key);
	write_json(to, value);
}

static void write_error(struct writer *to, const char *path, int error)
{
	char text[PATH_SIZE + 64];
	struct writer plain = WRITER(text);

	write_text(&plain, path);
	write_text(&plain, ": ");
	write_text(&plain, error_text(error));
	write_end(&plain);
	write_json(to, text);
}

static void write_error_pair(struct writer *to, const char *key, const char *path, int error)
{
	write_text(to, ",");
	write_key(to, key);
	write_error(to, path, error);
}

static void write_microseconds(struct writer *to, uint64_t ns)
{
	write_number(to, ns / 1000);
	write_text(to, ".");
	write_number(to, ns / 100 % 10);
}

static void write_reasons(struct writer *to, uint32_t reasons)
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

static void write_common(struct writer *to, const struct start *start)
{
	if (start->decision.unsure[0])
		write_pair(to, "unsure", start->decision.unsure);
	write_pair(to, "layer_version", VERSION);
	write_text(to, ",\"decision_us\":");
	write_microseconds(to, start->decision.took_ns);
}

static void finish_line(struct writer *to, const char *line)
{
	write_text(to, "}\n");
	say(line, (size_t)(to->at - line));
}

void tell_fallback(const struct start *start)
{
	char line[LINE_SIZE];
	struct writer to = WRITER(line);

	write_text(&to, "{");
	write_key(&to, "DD_EXTENSION_FALLBACK_REASON");
	write_json(&to, first_reason(&start->decision));
	write_reasons(&to, start->decision.reasons);
	if (start->layer.extension_error)
		write_error_pair(&to, "detail", start->layer.extension, start->layer.extension_error);
	write_common(&to, start);
	finish_line(&to, line);
}

void tell_unavailable(const struct start *start)
{
	char line[LINE_SIZE];
	struct writer to = WRITER(line);

	write_text(&to, "{");
	write_key(&to, "DD_EXTENSION_FALLBACK_UNAVAILABLE");
	write_json(&to, first_reason(&start->decision));
	write_reasons(&to, start->decision.reasons);
	write_error_pair(&to, "legacy", start->layer.legacy, start->layer.legacy_error);
	write_pair(&to, "starting", start->layer.extension);
	write_common(&to, start);
	finish_line(&to, line);
}

void tell_unreadable(const struct start *start)
{
	char line[LINE_SIZE];
	struct writer to = WRITER(line);

	write_text(&to, "{");
	write_key(&to, "DD_EXTENSION_CONFIG_UNREADABLE");
	write_error(&to, start->config.path, start->config.error);
	write_pair(&to, "what_to_do", "Package datadog.yaml as a regular file that all users may read (chmod 644).");
	write_common(&to, start);
	finish_line(&to, line);
}

void tell_cannot_start(const struct start *start)
{
	char line[LINE_SIZE];
	struct writer to = WRITER(line);

	write_text(&to, "{");
	write_key(&to, "DD_EXTENSION_CANNOT_START");
	write_json(&to, "the layer holds no extension that can be started");
	write_error_pair(&to, "extension", start->layer.extension, start->layer.extension_error);
	write_error_pair(&to, "legacy", start->layer.legacy, start->layer.legacy_error);
	write_pair(&to, "what_to_do", "Attach the published layer for the function's architecture again, or remove it.");
	write_common(&to, start);
	finish_line(&to, line);
}

/* --- explain --- */

static const char *decision_name(const struct start *start)
{
	if (start->decision.reasons && !start->layer.legacy_error)
		return "legacy";
	return start->layer.extension_error ? "none" : "next";
}

static void explain_json(const struct start *start)
{
	char line[LINE_SIZE];
	struct writer to = WRITER(line);
	const char *comma = "";

	write_text(&to, "{\"decision\":");
	write_json(&to, decision_name(start));
	write_reasons(&to, start->decision.reasons);
	write_text(&to, ",\"what_to_do\":{");
	for (unsigned n = 0; n < REASON_COUNT; n++)
		if (start->decision.reasons >> n & 1) {
			write_text(&to, comma);
			write_key(&to, REASONS[n].name);
			write_json(&to, REASONS[n].what_to_do);
			comma = ",";
		}
	write_text(&to, "},\"paths\":{\"root\":");
	write_json(&to, start->layer.root);
	write_pair(&to, "extension", start->layer.extension);
	write_pair(&to, "legacy", start->layer.legacy);
	write_pair(&to, "config", start->config.path);
	write_text(&to, "}");
	if (start->layer.extension_error)
		write_error_pair(&to, "extension_error", start->layer.extension, start->layer.extension_error);
	if (start->layer.legacy_error)
		write_error_pair(&to, "legacy_error", start->layer.legacy, start->layer.legacy_error);
	if (!start->decision.unsure[0])
		write_text(&to, ",\"unsure\":null");
	write_common(&to, start);
	finish_line(&to, line);
}

static void write_row(struct writer *to, const char *title, const char *text, int error)
{
	write_text(to, title);
	write_text(to, text);
	if (error) {
		write_text(to, "  (");
		write_text(to, error_text(error));
		write_text(to, ")");
	}
	write_text(to, "\n");
}

static void explain_text(const struct start *start)
{
	char page[LINE_SIZE];
	struct writer to = WRITER(page);

	write_row(&to, "fliptop     ", VERSION, 0);
	write_row(&to, "decision    ", decision_name(start), 0);
	write_row(&to, "extension   ", start->layer.extension, start->layer.extension_error);
	write_row(&to, "legacy      ", start->layer.legacy, start->layer.legacy_error);
	write_row(&to, "config      ", start->config.path, start->config.error);
	write_text(&to, "decided in  ");
	write_microseconds(&to, start->decision.took_ns);
	write_text(&to, " microseconds\n");
	if (start->decision.unsure[0])
		write_row(&to, "unsure      ", start->decision.unsure, 0);
	if (start->decision.unsure[0] && !start->decision.reasons)
		write_text(&to, "            The extension reads datadog.yaml with a full parser and decides before it registers.\n");
	for (unsigned n = 0; n < REASON_COUNT; n++)
		if (start->decision.reasons >> n & 1) {
			write_row(&to, "\nreason      ", REASONS[n].name, 0);
			write_row(&to, "            ", REASONS[n].what_to_do, 0);
		}
	say(page, (size_t)(to.at - page));
}

void explain(const struct start *start, bool json)
{
	if (json)
		explain_json(start);
	else
		explain_text(start);
}

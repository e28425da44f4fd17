#include "explain.h"

#include "json.h"
#include "provenance.h"
#include "version.h"

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
	write_detail(&to, start);
	if (start->layer.extension_error)
		write_error_pair(&to, "extension_error", start->layer.extension, start->layer.extension_error);
	if (start->layer.legacy_error)
		write_error_pair(&to, "legacy_error", start->layer.legacy, start->layer.legacy_error);
	if (!start->decision.unsure[0])
		write_text(&to, ",\"unsure\":null");
	write_text(&to, ",\"provenance\":");
	write_provenance_json(&to, &start->layer);
	write_common(&to, start);
	say_line(&to, line);
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
	if (start->died[0])
		write_row(&to, "died of     ", start->died, 0);
	for (unsigned n = 0; n < REASON_COUNT; n++)
		if (start->decision.reasons >> n & 1) {
			write_row(&to, "\nreason      ", REASONS[n].name, 0);
			write_row(&to, "            ", REASONS[n].what_to_do, 0);
		}
	write_text(&to, "\n");
	write_provenance(&to, &start->layer);
	say(page, (size_t)(to.at - page));
}

void explain_version(const struct layer *layer)
{
	char page[LINE_SIZE];
	struct writer to = WRITER(page);

	write_text(&to, VERSION "\n");
	write_provenance(&to, layer);
	say(page, (size_t)(to.at - page));
}

void explain(const struct start *start, bool json)
{
	if (json)
		explain_json(start);
	else
		explain_text(start);
}

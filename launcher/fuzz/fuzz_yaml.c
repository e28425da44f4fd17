/* Any bytes as datadog.yaml: no crash, no overrun (the sanitizers tell), and the same answer twice. */
#include <stdlib.h>
#include <string.h>

#include "decide.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *const environment[] = {"DD_OTLP_CONFIG_TRACES_ENABLED=false", "AWS_REGION=eu-west-1", NULL};
	struct text file = {(const char *)data, size};
	struct decision once = {0}, twice = {0};

	decide_configuration(&once, environment, file);
	decide_configuration(&twice, environment, file);
	if (once.reasons != twice.reasons || strcmp(once.unsure, twice.unsure))
		abort();
	/* Nothing that an unsure scan saw may count. */
	if (once.unsure[0] && once.reasons)
		abort();
	return 0;
}

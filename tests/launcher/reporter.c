/* Stands for an extension: writes down how it was started, in <its own path>.report, and ends with 0. Asked to settle, it
 * says what the variable SETTLED says, nothing at all without one but that there are no reasons. */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

extern char **environ;

int main(int argc, char **argv)
{
	char path[4200];
	FILE *report;
	struct sigaction action;

	if (argc > 1 && !strcmp(argv[1], "--settle"))
		return fputs(getenv("SETTLED") ? getenv("SETTLED") : "settled\n", stdout) < 0;
	snprintf(path, sizeof(path), "%s.report", argv[0]);
	report = fopen(path, "we");
	if (!report)
		return 3;
	fprintf(report, "%d", getpid());
	fputc(0, report);
	for (int file = 0; file < 256; file++)
		if (file != fileno(report) && fcntl(file, F_GETFD) >= 0)
			fprintf(report, "%d ", file);
	fputc(0, report);
	for (int number = 1; number < 32; number++)
		if (!sigaction(number, NULL, &action) && action.sa_handler == SIG_IGN)
			fprintf(report, "%d ", number);
	fputc(0, report);
	fprintf(report, "%d", argc);
	fputc(0, report);
	for (int i = 0; i < argc; i++)
		fprintf(report, "%s%c", argv[i], 0);
	for (char **entry = environ; *entry; entry++)
		fprintf(report, "%s%c", *entry, 0);
	return fclose(report) ? 4 : 0;
}

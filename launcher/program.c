#include "program.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#ifdef __aarch64__
enum { MACHINE = EM_AARCH64 };
#else
enum { MACHINE = EM_X86_64 };
#endif

/* As much of a script's first line as the kernel looks at. */
enum { HEAD_SIZE = 256 };

int file_error(const char *path)
{
	struct stat status;

	if (stat(path, &status))
		return errno;
	if (!S_ISREG(status.st_mode))
		return S_ISDIR(status.st_mode) ? EISDIR : EINVAL;
	return access(path, X_OK) ? errno : 0;
}

/* "#!/usr/bin/env python3" → is /usr/bin/env there? */
static int interpreter_error(char *line)
{
	char *path = line + strspn(line, " \t");

	path[strcspn(path, " \t\n")] = '\0';
	return !*path ? ENOEXEC : access(path, X_OK) ? errno : 0;
}

static bool is_for_this_machine(const char *head, size_t length)
{
	Elf64_Ehdr elf;

	if (length < sizeof(elf))
		return false;
	memcpy(&elf, head, sizeof(elf));
	return !memcmp(elf.e_ident, ELFMAG, SELFMAG) && elf.e_ident[EI_CLASS] == ELFCLASS64 && elf.e_machine == MACHINE &&
	       (elf.e_type == ET_EXEC || elf.e_type == ET_DYN);
}

int program_error(const char *path, bool *is_script)
{
	char head[HEAD_SIZE] = {0};
	int error = file_error(path), file;
	ssize_t length;

	*is_script = false;
	if (error)
		return error;
	file = open(path, O_RDONLY | O_CLOEXEC);
	if (file < 0)
		return 0; /* executable but not readable: no script, at least */
	length = read(file, head, sizeof(head) - 1);
	close(file);
	*is_script = !strncmp(head, "#!", 2);
	if (*is_script)
		return interpreter_error(head + 2);
	return length > 0 && is_for_this_machine(head, (size_t)length) ? 0 : ENOEXEC;
}

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

/* All program headers that a linker writes; of a script more than the kernel looks at. */
enum { HEAD_SIZE = 1024 };

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

static bool is_program(const Elf64_Ehdr *elf)
{
	return !memcmp(elf->e_ident, ELFMAG, SELFMAG) && (elf->e_type == ET_EXEC || elf->e_type == ET_DYN);
}

static bool is_for_this_machine(const Elf64_Ehdr *elf)
{
	return elf->e_ident[EI_CLASS] == ELFCLASS64 && elf->e_machine == MACHINE;
}

static void find_loader(int file, const char *head, size_t length, char loader[LOADER_SIZE])
{
	Elf64_Ehdr elf;
	Elf64_Phdr part;

	memcpy(&elf, head, sizeof(elf));
	for (size_t i = 0; i < elf.e_phnum && elf.e_phoff < length && length - elf.e_phoff >= (i + 1) * sizeof(part); i++) {
		memcpy(&part, head + elf.e_phoff + i * sizeof(part), sizeof(part));
		if (part.p_type != PT_INTERP)
			continue;
		if (part.p_filesz > LOADER_SIZE || pread(file, loader, part.p_filesz, (off_t)part.p_offset) <= 0 ||
		    !memchr(loader, '\0', part.p_filesz))
			*loader = '\0';
		return;
	}
}

static int elf_error(int file, const char *head, size_t length, struct program *program)
{
	Elf64_Ehdr elf;

	if (length < sizeof(elf))
		return ENOEXEC;
	memcpy(&elf, head, sizeof(elf));
	if (!is_program(&elf))
		return ENOEXEC;
	program->is_foreign = !is_for_this_machine(&elf);
	if (!program->is_foreign)
		find_loader(file, head, length, program->loader);
	return program->is_foreign ? ENOEXEC : 0;
}

int program_error(const char *path, struct program *program)
{
	char head[HEAD_SIZE];
	int error = file_error(path), file;
	ssize_t length;

	program->is_script = program->is_foreign = false;
	program->loader[0] = '\0';
	if (error)
		return error;
	file = open(path, O_RDONLY | O_CLOEXEC);
	if (file < 0)
		return 0; /* executable but not readable: no script, at least */
	length = read(file, head, sizeof(head) - 1);
	if (length < 0)
		length = 0;
	head[length] = '\0';
	program->is_script = !strncmp(head, "#!", 2);
	error = program->is_script ? interpreter_error(head + 2)
				   : elf_error(file, head, (size_t)length, program);
	close(file);
	return error;
}

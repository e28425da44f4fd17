#include "books.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "json.h"
#include "sockets.h"

volatile struct books *books_make(int *file)
{
	int made = memfd_create("fliptop-books", MFD_CLOEXEC);
	void *memory = MAP_FAILED;

	*file = made < 0 ? -1 : fcntl(made, F_DUPFD_CLOEXEC, FIRST_OWN);
	if (made >= 0)
		close(made);
	if (*file >= 0 && !ftruncate(*file, BOOKS_SIZE))
		memory = mmap(NULL, BOOKS_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, *file, 0);
	if (memory != MAP_FAILED)
		return memory;
	if (*file >= 0)
		close(*file);
	*file = -1;
	return NULL;
}

/* A process that died may have left anything there. */
static void write_row(struct writer *to, const volatile struct books_row *row)
{
	char name[BOOKS_NAME_SIZE];

	for (size_t i = 0; i < sizeof(name); i++)
		name[i] = row->name[i];
	name[sizeof(name) - 1] = '\0';
	write_key(to, name);
	write_number(to, row->count);
}

void write_books(struct writer *to, const volatile struct books *books)
{
	const char *comma = "";

	write_text(to, ",\"ledger\":{");
	for (size_t i = 0; i < BOOKS_ROWS && books->rows[i].name[0]; i++) {
		write_text(to, comma);
		write_row(to, &books->rows[i]);
		comma = ",";
	}
	write_text(to, "}");
}

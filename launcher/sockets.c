#include "sockets.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

int own_socket(int type, int protocol)
{
	int made = socket(AF_INET, type | SOCK_CLOEXEC, protocol);
	int moved;

	/* With stdout closed, what is told there must not go to a socket that has taken its number. */
	if (made < 0)
		return -1;
	moved = fcntl(made, F_DUPFD_CLOEXEC, FIRST_INHERITED + MOST_INHERITED);
	close(made);
	return moved;
}

int inherit_sockets(const int *sockets, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (dup2(sockets[i], FIRST_INHERITED + (int)i) < 0)
			return -1;
	return 0;
}

void close_inherited(size_t count)
{
	for (size_t i = 0; i < count; i++)
		close(FIRST_INHERITED + (int)i);
}

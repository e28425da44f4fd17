#include "sockets.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

/* With stdout closed, what is told there must not go to a socket that has taken its number. */
static int moved(int made)
{
	int own = made < 0 ? -1 : fcntl(made, F_DUPFD_CLOEXEC, FIRST_OWN);
	int error = errno == EINVAL ? EMFILE : errno; /* a limit that is not even above FIRST_OWN */

	if (made >= 0)
		close(made);
	errno = error;
	return own;
}

int own_socket(int type, int protocol)
{
	return moved(socket(AF_INET, type | SOCK_CLOEXEC, protocol));
}

int own_pair(int ends[2])
{
	int error;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends))
		return -1;
	ends[0] = moved(ends[0]);
	ends[1] = moved(ends[1]);
	if (ends[0] >= 0 && ends[1] >= 0)
		return 0;
	error = errno;
	close(ends[0]);
	close(ends[1]);
	errno = error;
	return -1;
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

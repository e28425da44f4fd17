/* Sockets that the extension inherits, by the protocol of sd_listen_fds(3). */
#ifndef FLIPTOP_SOCKETS_H
#define FLIPTOP_SOCKETS_H

#include <stddef.h>

/* Four listeners, the books, the connection. */
enum { FIRST_INHERITED = 3, MOST_INHERITED = 6, FIRST_OWN = FIRST_INHERITED + MOST_INHERITED };

/* An internet socket that is closed on exec, with a number above those of inherited ones. -1 and errno if that fails. */
int own_socket(int type, int protocol);

/* Two connected ends of a local stream, likewise; 0, or -1 and errno. */
int own_pair(int ends[2]);

/* Let the next program inherit copies of these, from FIRST_INHERITED on in this order. -1 and errno if that fails. */
int inherit_sockets(const int *sockets, size_t count);

/* Close the copies again: no next program has come. */
void close_inherited(size_t count);

#endif

/* Just as much HTTP/1.1 as a Lambda API needs of its clients: one connection, one buffer; of an answer the headers, then
 * a body of Content-Length bytes or in chunks, which is read and thrown away. Whatever goes wrong ends the program. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

static char buffer[1 << 16];
static size_t filled; /* bytes of `buffer` in use, always followed by a NUL */

static void die(const char *what) {
    perror(what);
    exit(1);
}

static int dial(const char *address) {
    char host[64];
    const char *colon = strchr(address, ':');
    if (!colon || (size_t)(colon - address) >= sizeof host) die("AWS_LAMBDA_RUNTIME_API");
    memcpy(host, address, (size_t)(colon - address));
    host[colon - address] = 0;
    struct sockaddr_in peer = {.sin_family = AF_INET, .sin_port = htons((unsigned short)atoi(colon + 1))};
    if (inet_pton(AF_INET, host, &peer.sin_addr) != 1) die("AWS_LAMBDA_RUNTIME_API is not an IPv4 address");
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;
    if (fd < 0 || connect(fd, (struct sockaddr *)&peer, sizeof peer)) die("connect to the Runtime API");
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    return fd;
}

static void put(int fd, const char *text, size_t length) {
    while (length) {
        ssize_t sent = write(fd, text, length);
        if (sent <= 0) die("write");
        text += sent, length -= (size_t)sent;
    }
}

static void more(int fd) {
    ssize_t got = read(fd, buffer + filled, sizeof buffer - 1 - filled);
    if (got <= 0) die("the Runtime API has closed the connection");
    filled += (size_t)got;
    buffer[filled] = 0;
}

static void drop(size_t length) {
    filled -= length;
    memmove(buffer, buffer + length, filled + 1);
}

static void skip(int fd, size_t length) {
    while (length > filled) {
        length -= filled, filled = 0;
        more(fd);
    }
    drop(length);
}

static size_t line(int fd) { /* length of the line at the start of the buffer, with its CRLF */
    char *end;
    while (!(end = strstr(buffer, "\r\n"))) more(fd);
    return (size_t)(end - buffer) + 2;
}

static const char *header(const char *name, const char *end) {
    size_t length = strlen(name);
    for (const char *at = strstr(buffer, "\r\n"); at && at < end; at = strstr(at + 2, "\r\n"))
        if (!strncasecmp(at + 2, name, length) && at[2 + length] == ':') return at + 3 + length + strspn(at + 3 + length, " ");
    return NULL;
}

static void skip_chunks(int fd) {
    for (;;) {
        size_t start = line(fd), size = strtoul(buffer, NULL, 16);
        skip(fd, start);
        skip(fd, size + 2);
        if (!size) return;
    }
}

/* Reads the head of one answer, copies the header `name` to `value` when it is there. Returns the length of the
 * body, which the caller reads or skips; one in chunks has been skipped, and counts as empty. */
static size_t head(int fd, const char *name, char *value, size_t room) {
    char *end;
    while (!(end = strstr(buffer, "\r\n\r\n"))) more(fd);
    const char *wanted = header(name, end), *length = header("Content-Length", end);
    size_t body = length ? strtoul(length, NULL, 10) : 0;
    int chunked = header("Transfer-Encoding", end) != NULL;
    if (wanted) snprintf(value, room, "%.*s", (int)strcspn(wanted, "\r"), wanted);
    skip(fd, (size_t)(end - buffer) + 4);
    if (!chunked) return body;
    skip_chunks(fd);
    return 0;
}

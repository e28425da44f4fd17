/* A function that writes LAB_LINES log lines and sends LAB_METRICS datagrams (DogStatsD) in each invocation, and nothing
 * else: counts and distributions in turns, of a hundred names each; none of them when the event has the word "rest".
 * Speaks the Runtime API (2018-06-01). */
#include "../functions/c/http.h"

#define REQUEST_ID "Lambda-Runtime-Aws-Request-Id"

static int number(const char *name) {
    const char *text = getenv(name);
    return text ? atoi(text) : 0;
}

static void log_lines(int count, const char *id) {
    char text[256];
    for (int i = 0; i < count; i++) {
        int n = snprintf(text, sizeof text, "load line %d of request %s: an order of 3 items has been stored in 12 ms\n", i, id);
        put(1, text, (size_t)n);
    }
}

static void send_metrics(int fd, int count) {
    char text[128];
    for (int i = 0; i < count; i++) {
        int kind = i % 2, name = i / 2 % 100;
        int n = snprintf(text, sizeof text, kind ? "load.took_%d:%d|d|#kind:book" : "load.orders_%d:1|c|#kind:book", name, i);
        if (send(fd, text, (size_t)n, 0) < 0) continue; /* nobody listens: a client does not care */
    }
}

static int may_rest(int fd, size_t length) { /* reads the event */
    if (length >= sizeof buffer) die("an event of this size");
    while (filled < length) more(fd);
    int found = memmem(buffer, length, "\"rest\"", 6) != NULL;
    drop(length);
    return found;
}

int main(void) {
    const char *api = getenv("AWS_LAMBDA_RUNTIME_API");
    if (!api) die("AWS_LAMBDA_RUNTIME_API is not set");
    int fd = dial(api), statsd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in agent = {.sin_family = AF_INET, .sin_port = htons(8125), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    if (statsd < 0 || connect(statsd, (struct sockaddr *)&agent, sizeof agent)) die("a socket for DogStatsD");
    char id[64] = "", text[512];
    for (;;) {
        int n = snprintf(text, sizeof text, "GET /2018-06-01/runtime/invocation/next HTTP/1.1\r\nHost: %s\r\n\r\n", api);
        put(fd, text, (size_t)n);
        int rest = may_rest(fd, head(fd, REQUEST_ID, id, sizeof id));
        log_lines(rest ? 0 : number("LAB_LINES"), id);
        send_metrics(statsd, rest ? 0 : number("LAB_METRICS"));
        n = snprintf(text, sizeof text, "POST /2018-06-01/runtime/invocation/%s/response HTTP/1.1\r\nHost: %s\r\n"
                     "Content-Type: application/json\r\nContent-Length: 11\r\n\r\n{\"ok\":true}", id, api);
        put(fd, text, (size_t)n);
        skip(fd, head(fd, REQUEST_ID, id, sizeof id));
    }
}

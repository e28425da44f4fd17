/* A function that writes LAB_LINES log lines, sends LAB_METRICS datagrams (DogStatsD) and LAB_SPANS spans in each
 * invocation, and nothing else: counts and distributions in turns, of a hundred names each; traces of fifty spans; none
 * of them when the event has the word "rest". Speaks the Runtime API (2018-06-01). */
#include <stdint.h>
#include <time.h>

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

static char trace[1 << 16]; /* as msgpack */
static size_t packed;

static void byte(unsigned char value) { trace[packed++] = (char)value; }

static void text_of(const char *value) {
    size_t length = strlen(value);
    byte(0xd9), byte((unsigned char)length);
    memcpy(trace + packed, value, length);
    packed += length;
}

static void pair(const char *key, const char *value) { text_of(key), text_of(value); }

static void integer(const char *key, uint64_t value) {
    text_of(key), byte(0xcf);
    for (int shift = 56; shift >= 0; shift -= 8) byte((unsigned char)(value >> shift));
}

static uint64_t some_id(void) { /* different in each environment, never 0 */
    static uint64_t state;
    struct timespec now;
    if (!state && !clock_gettime(CLOCK_REALTIME, &now)) state = (uint64_t)now.tv_nsec << 20 ^ (uint64_t)now.tv_sec;
    state = state * 6364136223846793005u + 1442695040888963407u;
    return state >> 1 | 1;
}

static void pack_span(uint64_t trace_id, uint64_t span_id, uint64_t parent_id, const char *id) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    byte(0x8b);
    pair("service", "load"), pair("name", parent_id ? "load.step" : "load.request"), pair("resource", "GET /orders");
    pair("type", "web"), integer("trace_id", trace_id), integer("span_id", span_id), integer("parent_id", parent_id);
    integer("start", (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec), integer("duration", 12345);
    text_of("meta"), byte(0x84), pair("language", "c"), pair("request_id", id), pair("http.method", "GET");
    pair("http.url", "https://example.com/orders?page=3");
    text_of("metrics"), byte(0x81), integer("_sampling_priority_v1", 1);
}

static int tracer(void) { /* -1 where nobody listens: a tracer does not care */
    struct sockaddr_in agent = {.sin_family = AF_INET, .sin_port = htons(8126), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || !connect(fd, (struct sockaddr *)&agent, sizeof agent)) return fd;
    close(fd);
    return -1;
}

static void send_spans(int count, const char *id) {
    char text[256];
    int fd = count ? tracer() : -1;
    while (fd >= 0 && count > 0) {
        int spans = count < 50 ? count : 50;
        uint64_t trace_id = some_id(), root = some_id();
        packed = 0, count -= spans;
        byte(0x91), byte(0xdc), byte(0), byte((unsigned char)spans);
        for (int i = 0; i < spans; i++) pack_span(trace_id, i ? some_id() : root, i ? root : 0, id);
        int n = snprintf(text, sizeof text, "PUT /v0.4/traces HTTP/1.1\r\nHost: 127.0.0.1:8126\r\nContent-Type: "
                         "application/msgpack\r\nX-Datadog-Trace-Count: 1\r\nContent-Length: %zu\r\n\r\n", packed);
        put(fd, text, (size_t)n), put(fd, trace, packed);
        skip(fd, head(fd, "Date", text, sizeof text));
    }
    if (fd >= 0) close(fd);
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
        send_spans(rest ? 0 : number("LAB_SPANS"), id);
        n = snprintf(text, sizeof text, "POST /2018-06-01/runtime/invocation/%s/response HTTP/1.1\r\nHost: %s\r\n"
                     "Content-Type: application/json\r\nContent-Length: 11\r\n\r\n{\"ok\":true}", id, api);
        put(fd, text, (size_t)n);
        skip(fd, head(fd, REQUEST_ID, id, sizeof id));
    }
}

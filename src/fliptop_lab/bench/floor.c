/* The least an extension can do (Extensions API, 2020-01-01): register for INVOKE and SHUTDOWN, ask for events, leave at
 * SHUTDOWN. No extension can be ready sooner or cost less, so what others add to this is theirs. */
#include "../functions/c/http.h"

#define IDENTIFIER "Lambda-Extension-Identifier"
#define EVENTS "{\"events\":[\"INVOKE\",\"SHUTDOWN\"]}"

static int is_shutdown(int fd, size_t length) {
    if (length >= sizeof buffer) die("an event of this size");
    while (filled < length) more(fd);
    int found = memmem(buffer, length, "\"SHUTDOWN\"", 10) != NULL;
    drop(length);
    return found;
}

int main(int argc, char **argv) {
    const char *api = getenv("AWS_LAMBDA_RUNTIME_API");
    if (!api || argc < 1) die("AWS_LAMBDA_RUNTIME_API is not set");
    const char *slash = strrchr(argv[0], '/'), *name = slash ? slash + 1 : argv[0];
    char id[64] = "", text[512];
    int fd = dial(api);
    int n = snprintf(text, sizeof text, "POST /2020-01-01/extension/register HTTP/1.1\r\nHost: %s\r\nLambda-Extension-Name: %s\r\n"
                     "Content-Type: application/json\r\nContent-Length: %zu\r\n\r\n" EVENTS, api, name, sizeof EVENTS - 1);
    put(fd, text, (size_t)n);
    skip(fd, head(fd, IDENTIFIER, id, sizeof id));
    n = snprintf(text, sizeof text, "GET /2020-01-01/extension/event/next HTTP/1.1\r\nHost: %s\r\n" IDENTIFIER ": %s\r\n\r\n", api, id);
    do put(fd, text, (size_t)n);
    while (!is_shutdown(fd, head(fd, IDENTIFIER, id, sizeof id)));
    return 0;
}

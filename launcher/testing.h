/* The release build reads no variable of these names: each is the constant beside it. */
#ifndef FLIPTOP_TESTING_H
#define FLIPTOP_TESTING_H

#ifdef FLIPTOP_TESTING
#include <stdlib.h>
#define FOR_TESTS(name, otherwise) (getenv(name) ? getenv(name) : (otherwise))
#else
#define FOR_TESTS(name, otherwise) (otherwise)
#endif

#define TMP FOR_TESTS("FLIPTOP_TEST_TMP", "/tmp")
#define LIBC_ROOT FOR_TESTS("FLIPTOP_TEST_LIBC_ROOT", "")
#define STATSD_PORT FOR_TESTS("FLIPTOP_TEST_STATSD_PORT", "8125")
#define TELEMETRY_PORT FOR_TESTS("FLIPTOP_TEST_TELEMETRY_PORT", "8999")
#define LIFECYCLE_PORT FOR_TESTS("FLIPTOP_TEST_LIFECYCLE_PORT", "8124")
#define TRACE_AGENT_PORT FOR_TESTS("FLIPTOP_TEST_TRACE_AGENT_PORT", "8126")

#endif

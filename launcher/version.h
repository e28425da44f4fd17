/* The build gives the version of the layer. */
#ifndef VERSION
#define VERSION "0.0.0+unknown"
#endif

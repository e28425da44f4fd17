#!/bin/sh
# Makes the certificates beside this file anew: an authority, and a server's for localhost. They protect nothing.
set -eu
cd "$(dirname "$0")"
curve="-newkey ec -pkeyopt ec_paramgen_curve:P-256 -noenc"
# shellcheck disable=SC2086 -- options, split on purpose
openssl req -x509 $curve -keyout authority.key -out authority.pem -days 36500 -subj "/CN=fliptop tests" \
    -addext "basicConstraints=critical,CA:TRUE" -addext "keyUsage=critical,keyCertSign"
# shellcheck disable=SC2086
openssl req -x509 $curve -keyout server.key -out server.crt -days 36500 -subj "/CN=localhost" \
    -CA authority.pem -CAkey authority.key -addext "subjectAltName=DNS:localhost" \
    -addext "basicConstraints=critical,CA:FALSE" -addext "extendedKeyUsage=serverAuth"
cat server.key server.crt > server.pem
rm authority.key server.key server.crt

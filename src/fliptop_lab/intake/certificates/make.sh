#!/bin/sh
# Makes the certificates of the lab's intake: one from an authority that extensions are told to trust, one from another.
# They are good for a hundred years and for nothing but this machine. Needs openssl.
set -eu
cd "$(dirname "$0")"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
curve="-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes"
for name in known unknown; do
  openssl req -x509 $curve -days 36500 -subj "/CN=fliptop-lab, the $name authority" -keyout "$work/ca.key" \
    -out "$work/$name.ca" -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign,cRLSign
  openssl req $curve -subj /CN=intake.lab -keyout "$work/key" -out "$work/csr"
  printf '%s\n' subjectAltName=DNS:intake.lab,DNS:localhost,IP:127.0.0.1 extendedKeyUsage=serverAuth \
    basicConstraints=CA:FALSE subjectKeyIdentifier=hash authorityKeyIdentifier=keyid > "$work/extensions"
  openssl x509 -req -in "$work/csr" -CA "$work/$name.ca" -CAkey "$work/ca.key" -CAcreateserial -days 36500 \
    -extfile "$work/extensions" -out "$work/crt"
  cat "$work/key" "$work/crt" > $name.pem
done
cp "$work/known.ca" authority.pem

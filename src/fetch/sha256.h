/* SHA-256 (FIPS 180-4), to check what was downloaded against what the index promises. */
#ifndef PX_FETCH_SHA256_H
#define PX_FETCH_SHA256_H

#include <stddef.h>
#include <stdint.h>

enum { PX_SHA256_TEXT = 65 }; /* 64 hexadecimal digits and a NUL */

typedef struct px_sha256 {
    uint32_t state[8];
    uint64_t size;      /* bytes so far */
    uint8_t block[64];  /* the last, incomplete one */
} px_sha256;

void px_sha256_begin(px_sha256 *hash);
void px_sha256_add(px_sha256 *hash, const void *data, size_t size);
/* Writes the digest in lower case; the hash is then used up. */
void px_sha256_end(px_sha256 *hash, char text[PX_SHA256_TEXT]);

#endif

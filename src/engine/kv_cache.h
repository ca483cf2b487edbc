/* The keys and values of one sequence, in blocks of PX_KV_BLOCK positions that are allocated as the
 * sequence grows. Inside a block each (layer, key or value, head) has its rows together, so that
 * attention reads contiguous memory. */
#ifndef PX_ENGINE_KV_CACHE_H
#define PX_ENGINE_KV_CACHE_H

#include "kernels/kernels.h"
#include "model/model.h"

enum { PX_KV_BLOCK = 64 };

typedef struct px_kv_cache {
    px_cache_type type;
    int64_t kv_heads, head_dim;
    size_t head_bytes;  /* PX_KV_BLOCK rows of one head */
    size_t block_bytes; /* all layers, keys and values */
    void **blocks;
    size_t block_count, capacity;
} px_kv_cache;

/* Bytes of one position in all layers. */
size_t px_kv_bytes_per_token(const px_desc *desc, px_cache_type type);

void px_kv_init(px_kv_cache *cache, const px_desc *desc, px_cache_type type);
void px_kv_free(px_kv_cache *cache);

/* Makes room for `tokens` positions. */
phlox_status px_kv_reserve(px_kv_cache *cache, size_t tokens, phlox_error *error);
/* Frees the blocks behind the first `tokens` positions. */
void px_kv_truncate(px_kv_cache *cache, size_t tokens);

typedef enum px_kv_kind { PX_KEY, PX_VALUE } px_kv_kind;

/* The row [head_dim] of a position; the rows of the positions behind it in its block follow. */
void *px_kv_row(const px_kv_cache *cache, int64_t layer, px_kv_kind kind, int64_t head,
                size_t position);

#endif

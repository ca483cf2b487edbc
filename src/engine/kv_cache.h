/*
 * The keys and values of one sequence, in blocks of PX_KV_BLOCK positions that are allocated as the
 * sequence grows. Inside a block each layer and head has its part, keys first.
 *
 * f32, f16: the keys of the positions as rows [PX_KV_BLOCK, head_dim], then the values.
 *
 * i8, i4: two matrices in the layout of px_weight, so that attention is a product of integers and the
 * kernels of the weights do it. Keys: a row is a position, with a scale for each 32 columns. Values:
 * a column is a position; its scale, one for the head, belongs to the softmax weight that the column
 * meets. Symmetric, with the zero points of px_weight.
 */
#ifndef PX_ENGINE_KV_CACHE_H
#define PX_ENGINE_KV_CACHE_H

#include "kernels/kernels.h"
#include "model/model.h"

enum { PX_KV_BLOCK = 64 };

typedef struct px_kv_cache {
    px_cache_type type;
    int64_t kv_heads, head_dim;
    size_t scales, values, value_scales; /* where these begin in the part of a head */
    size_t head_bytes;  /* the part of a head */
    size_t block_bytes; /* all layers */
    void **blocks;      /* NULL: forgotten */
    size_t block_count, capacity;
    size_t forgotten;   /* blocks that are gone from the beginning */
} px_kv_cache;

/* Bytes of one position in all layers. */
size_t px_kv_bytes_per_token(const px_desc *desc, px_cache_type type);

void px_kv_init(px_kv_cache *cache, const px_desc *desc, px_cache_type type);
void px_kv_free(px_kv_cache *cache);

/* Makes room for `tokens` positions. */
phlox_status px_kv_reserve(px_kv_cache *cache, size_t tokens, phlox_error *error);
/* Frees the blocks behind the first `tokens` positions. */
void px_kv_truncate(px_kv_cache *cache, size_t tokens);
/* Frees the blocks of which all positions are before `position`. */
void px_kv_forget(px_kv_cache *cache, size_t position);
/* Bytes allocated. */
size_t px_kv_bytes(const px_kv_cache *cache);

/* Stores what one head has for a position: key, value float32 [head_dim]. */
void px_kv_store(const px_kv_cache *cache, const px_kernels *kernels, int64_t layer, int64_t head,
                 size_t position, const float *key, const float *value);

typedef enum px_kv_kind { PX_KEY, PX_VALUE } px_kv_kind;

/* f32, f16: the row [head_dim] of a position; the rows behind it in its block follow. */
void *px_kv_row(const px_kv_cache *cache, int64_t layer, px_kv_kind kind, int64_t head,
                size_t position);

/* i8, i4: the matrices of a block of positions, keys [PX_KV_BLOCK, head_dim] and values
 * [head_dim, PX_KV_BLOCK], whose products fetch those of the next block. *scales: [PX_KV_BLOCK]. */
px_weight px_kv_keys(const px_kv_cache *cache, int64_t layer, int64_t head, size_t block);
px_weight px_kv_values(const px_kv_cache *cache, int64_t layer, int64_t head, size_t block,
                       const float **scales);

#endif

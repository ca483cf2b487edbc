#include "engine/kv_cache.h"

#include <stdlib.h>

static bool is_integer(px_cache_type type)
{
    return type == PX_CACHE_I8 || type == PX_CACHE_I4;
}

static px_weight_type weight_type(px_cache_type type)
{
    return type == PX_CACHE_I4 ? PX_WEIGHT_I4 : PX_WEIGHT_I8;
}

static size_t line_up(size_t bytes)
{
    return (bytes + 63) / 64 * 64;
}

/* The parts of a head in a block, in bytes: keys, their scales, values, their scales. */
static void part_sizes(const px_desc *desc, px_cache_type type, size_t size[4])
{
    const int64_t dim = desc->head_dim;
    if (!is_integer(type)) {
        const size_t bytes = PX_KV_BLOCK * (size_t)dim * (type == PX_CACHE_F32 ? 4 : 2);
        size[0] = size[2] = bytes;
        size[1] = size[3] = 0;
        return;
    }
    const px_weight_type weight = weight_type(type);
    const size_t groups = (size_t)(dim + PX_COLUMN_BLOCK - 1) / PX_COLUMN_BLOCK;
    size[0] = PX_KV_BLOCK * (size_t)px_weight_row_bytes(weight, dim);
    size[1] = PX_KV_BLOCK * groups * sizeof(float);
    size[2] = (size_t)px_weight_padded_rows(weight, dim) *
              (size_t)px_weight_row_bytes(weight, PX_KV_BLOCK);
    size[3] = PX_KV_BLOCK * sizeof(float);
}

size_t px_kv_bytes_per_token(const px_desc *desc, px_cache_type type)
{
    px_kv_cache cache;
    px_kv_init(&cache, desc, type);
    return cache.block_bytes / PX_KV_BLOCK;
}

void px_kv_init(px_kv_cache *cache, const px_desc *desc, px_cache_type type)
{
    size_t size[4];
    part_sizes(desc, type, size);
    *cache = (px_kv_cache){.type = type, .kv_heads = desc->num_key_value_heads,
                           .head_dim = desc->head_dim};
    cache->scales = line_up(size[0]);
    cache->values = cache->scales + line_up(size[1]);
    cache->value_scales = cache->values + line_up(size[2]);
    cache->head_bytes = cache->value_scales + line_up(size[3]);
    cache->block_bytes =
        (size_t)desc->num_hidden_layers * (size_t)cache->kv_heads * cache->head_bytes;
}

void px_kv_free(px_kv_cache *cache)
{
    px_kv_truncate(cache, 0);
    free(cache->blocks);
    cache->blocks = NULL;
    cache->capacity = 0;
}

phlox_status px_kv_reserve(px_kv_cache *cache, size_t tokens, phlox_error *error)
{
    const size_t wanted = (tokens + PX_KV_BLOCK - 1) / PX_KV_BLOCK;
    if (wanted > cache->capacity) {
        const size_t capacity = PX_MAX(wanted, cache->capacity * 2);
        void **const blocks = realloc(cache->blocks, capacity * sizeof *blocks);
        if (!blocks) return px_fail_memory(error, capacity * sizeof *blocks);
        cache->blocks = blocks;
        cache->capacity = capacity;
    }
    while (cache->block_count < wanted) {
        void *const block = px_aligned_alloc(cache->block_bytes);
        if (!block)
            return px_fail(error, PHLOX_ERROR_MEMORY,
                           "no memory for the cache of %zu tokens (%zu bytes more); use a smaller "
                           "context", tokens, cache->block_bytes);
        cache->blocks[cache->block_count++] = block;
    }
    return PHLOX_OK;
}

void px_kv_truncate(px_kv_cache *cache, size_t tokens)
{
    const size_t kept = (tokens + PX_KV_BLOCK - 1) / PX_KV_BLOCK;
    while (cache->block_count > kept) px_aligned_free(cache->blocks[--cache->block_count]);
    cache->forgotten = PX_MIN(cache->forgotten, cache->block_count);
}

void px_kv_forget(px_kv_cache *cache, size_t position)
{
    const size_t end = PX_MIN(position / PX_KV_BLOCK, cache->block_count);
    for (; cache->forgotten < end; cache->forgotten++) {
        px_aligned_free(cache->blocks[cache->forgotten]);
        cache->blocks[cache->forgotten] = NULL;
    }
}

size_t px_kv_bytes(const px_kv_cache *cache)
{
    return (cache->block_count - cache->forgotten) * cache->block_bytes;
}

/* The part of a head in a block. */
static unsigned char *head_part(const px_kv_cache *cache, int64_t layer, int64_t head, size_t block)
{
    const size_t index = (size_t)(layer * cache->kv_heads + head);
    return (unsigned char *)cache->blocks[block] + index * cache->head_bytes;
}

void *px_kv_row(const px_kv_cache *cache, int64_t layer, px_kv_kind kind, int64_t head,
                size_t position)
{
    unsigned char *const part = head_part(cache, layer, head, position / PX_KV_BLOCK);
    const size_t row_bytes = (size_t)cache->head_dim * (cache->type == PX_CACHE_F32 ? 4 : 2);
    return part + (kind == PX_KEY ? 0 : cache->values) + position % PX_KV_BLOCK * row_bytes;
}

/* How far behind a block its successor lies; every block is laid out alike. */
static int64_t to_next(const px_kv_cache *cache, size_t block)
{
    if (block + 1 >= cache->block_count) return 0;
    return (int64_t)((intptr_t)cache->blocks[block + 1] - (intptr_t)cache->blocks[block]);
}

px_weight px_kv_keys(const px_kv_cache *cache, int64_t layer, int64_t head, size_t block)
{
    const unsigned char *const part = head_part(cache, layer, head, block);
    const px_weight_type type = weight_type(cache->type);
    return (px_weight){.type = type, .rows = PX_KV_BLOCK, .columns = cache->head_dim,
                       .group_size = PX_MIN(PX_COLUMN_BLOCK, cache->head_dim),
                       .row_bytes = px_weight_row_bytes(type, cache->head_dim),
                       .prefetch = to_next(cache, block), .data = part,
                       .scales = part + cache->scales};
}

px_weight px_kv_values(const px_kv_cache *cache, int64_t layer, int64_t head, size_t block,
                       const float **scales)
{
    const unsigned char *const part = head_part(cache, layer, head, block);
    const px_weight_type type = weight_type(cache->type);
    *scales = (const float *)(const void *)(part + cache->value_scales);
    return (px_weight){.type = type, .rows = cache->head_dim, .columns = PX_KV_BLOCK,
                       .group_size = PX_KV_BLOCK,
                       .row_bytes = px_weight_row_bytes(type, PX_KV_BLOCK),
                       .prefetch = to_next(cache, block), .data = part + cache->values};
}

void px_kv_store(const px_kv_cache *cache, const px_kernels *kernels, int64_t layer, int64_t head,
                 size_t position, const float *key, const float *value)
{
    const int64_t dim = cache->head_dim;
    if (!is_integer(cache->type)) {
        void (*const store)(const float *, void *, int64_t) = kernels->cache_store[cache->type];
        store(key, px_kv_row(cache, layer, PX_KEY, head, position), dim);
        store(value, px_kv_row(cache, layer, PX_VALUE, head, position), dim);
        return;
    }
    unsigned char *const part = head_part(cache, layer, head, position / PX_KV_BLOCK);
    const px_weight_type type = weight_type(cache->type);
    const int64_t at = (int64_t)(position % PX_KV_BLOCK);
    px_store_row(type, dim, at, key, part, (float *)(void *)(part + cache->scales));
    px_store_column(type, dim, PX_KV_BLOCK, at, value, part + cache->values,
                    (float *)(void *)(part + cache->value_scales) + at);
}

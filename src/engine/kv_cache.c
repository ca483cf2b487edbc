#include "engine/kv_cache.h"

#include <stdlib.h>

static size_t value_bytes(px_cache_type type)
{
    return type == PX_CACHE_F32 ? 4 : 2;
}

size_t px_kv_bytes_per_token(const px_desc *desc, px_cache_type type)
{
    return 2 * (size_t)desc->num_hidden_layers * (size_t)desc->num_key_value_heads *
           (size_t)desc->head_dim * value_bytes(type);
}

void px_kv_init(px_kv_cache *cache, const px_desc *desc, px_cache_type type)
{
    *cache = (px_kv_cache){
        .type = type,
        .kv_heads = desc->num_key_value_heads,
        .head_dim = desc->head_dim,
        .head_bytes = PX_KV_BLOCK * (size_t)desc->head_dim * value_bytes(type),
        .block_bytes = PX_KV_BLOCK * px_kv_bytes_per_token(desc, type),
    };
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
}

void *px_kv_row(const px_kv_cache *cache, int64_t layer, px_kv_kind kind, int64_t head,
                size_t position)
{
    const size_t index = (size_t)((layer * 2 + (int64_t)kind) * cache->kv_heads + head);
    char *const rows = (char *)cache->blocks[position / PX_KV_BLOCK] + index * cache->head_bytes;
    return rows + position % PX_KV_BLOCK * (cache->head_bytes / PX_KV_BLOCK);
}

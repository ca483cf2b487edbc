#include "checkpoint/gguf_keys.h"

#include "base/half.h"

#include <string.h>

static void add(px_gguf_keys *keys, const void *data, size_t size)
{
    if (keys->status == PHLOX_OK)
        keys->status = px_buffer_add(&keys->bytes, data, size, keys->error);
}

void px_gguf_add_u32(px_gguf_keys *keys, uint32_t value)
{
    const uint8_t bytes[] = {(uint8_t)value, (uint8_t)(value >> 8), (uint8_t)(value >> 16),
                             (uint8_t)(value >> 24)};
    add(keys, bytes, sizeof bytes);
}

void px_gguf_add_u64(px_gguf_keys *keys, uint64_t value)
{
    px_gguf_add_u32(keys, (uint32_t)value);
    px_gguf_add_u32(keys, (uint32_t)(value >> 32));
}

void px_gguf_add_f32(px_gguf_keys *keys, float value)
{
    px_gguf_add_u32(keys, px_bits_of_float(value));
}

void px_gguf_add_text(px_gguf_keys *keys, const char *data, size_t size)
{
    px_gguf_add_u64(keys, size);
    add(keys, data, size);
}

static void begin(px_gguf_keys *keys, const char *key, px_gguf_type type)
{
    px_gguf_add_text(keys, key, strlen(key));
    px_gguf_add_u32(keys, type);
    keys->count++;
}

void px_gguf_put_u32(px_gguf_keys *keys, const char *key, uint32_t value)
{
    begin(keys, key, PX_GGUF_U32);
    px_gguf_add_u32(keys, value);
}

void px_gguf_put_f32(px_gguf_keys *keys, const char *key, float value)
{
    begin(keys, key, PX_GGUF_F32);
    px_gguf_add_f32(keys, value);
}

void px_gguf_put_bool(px_gguf_keys *keys, const char *key, bool value)
{
    const uint8_t byte = value;
    begin(keys, key, PX_GGUF_BOOL);
    add(keys, &byte, 1);
}

void px_gguf_put_text(px_gguf_keys *keys, const char *key, phlox_text text)
{
    begin(keys, key, PX_GGUF_STRING);
    px_gguf_add_text(keys, text.data, text.size);
}

void px_gguf_put_word(px_gguf_keys *keys, const char *key, const char *word)
{
    px_gguf_put_text(keys, key, (phlox_text){word, strlen(word)});
}

void px_gguf_put_array(px_gguf_keys *keys, const char *key, px_gguf_type items, uint64_t count)
{
    begin(keys, key, PX_GGUF_ARRAY);
    px_gguf_add_u32(keys, items);
    px_gguf_add_u64(keys, count);
}

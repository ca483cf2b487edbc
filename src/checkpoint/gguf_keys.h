/* The metadata of a GGUF file being written: keys with values, one behind the other as in the file. */
#ifndef PX_CHECKPOINT_GGUF_KEYS_H
#define PX_CHECKPOINT_GGUF_KEYS_H

#include "checkpoint/gguf_file.h"

/* The first failure stays. */
typedef struct px_gguf_keys {
    px_buffer bytes;
    uint64_t count;
    phlox_status status;
    phlox_error *error;
} px_gguf_keys;

void px_gguf_put_u32(px_gguf_keys *keys, const char *key, uint32_t value);
void px_gguf_put_f32(px_gguf_keys *keys, const char *key, float value);
void px_gguf_put_bool(px_gguf_keys *keys, const char *key, bool value);
void px_gguf_put_text(px_gguf_keys *keys, const char *key, phlox_text text);
void px_gguf_put_word(px_gguf_keys *keys, const char *key, const char *word);
/* The beginning of an array; `count` items follow. */
void px_gguf_put_array(px_gguf_keys *keys, const char *key, px_gguf_type items, uint64_t count);

/* Values without a key: items of arrays. */
void px_gguf_add_u32(px_gguf_keys *keys, uint32_t value);
void px_gguf_add_u64(px_gguf_keys *keys, uint64_t value);
void px_gguf_add_f32(px_gguf_keys *keys, float value);
void px_gguf_add_text(px_gguf_keys *keys, const char *data, size_t size);

#endif

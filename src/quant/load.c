/* Source values as float32. Loops over a block have a constant length so that every compiler
 * vectorises them. */
#include "quant/group.h"

#include <string.h>

size_t px_float_size(px_float_type type)
{
    return type == PX_FLOAT_F32 ? 4 : 2;
}

static void bf16_block(const uint16_t *restrict bits, float *restrict out)
{
    for (int i = 0; i < BLOCK; i++) out[i] = px_bf16_to_f32(bits[i]);
}

static void f16_block(const uint16_t *restrict bits, float *restrict out)
{
    for (int i = 0; i < BLOCK; i++) out[i] = px_f16_exact(bits[i]);
}

void px_load_block(px_float_type type, const unsigned char *source, size_t count, float *out)
{
    if (type == PX_FLOAT_F32) {
        if (count < BLOCK) memset(out, 0, BLOCK * sizeof *out);
        memcpy(out, source, count * 4);
        return;
    }
    uint16_t bits[BLOCK];
    if (count < BLOCK) memset(bits, 0, sizeof bits);
    memcpy(bits, source, count * 2);
    if (type == PX_FLOAT_F16)
        f16_block(bits, out);
    else
        bf16_block(bits, out);
}

void px_float_load(px_float_type type, const void *source, size_t count, float *out)
{
    const unsigned char *from = source;
    const size_t size = px_float_size(type);
    size_t done = 0;
    for (; count - done >= BLOCK; done += BLOCK)
        px_load_block(type, from + done * size, BLOCK, out + done);
    if (done < count) {
        float rest[BLOCK];
        px_load_block(type, from + done * size, count - done, rest);
        memcpy(out + done, rest, (count - done) * sizeof *out);
    }
}

/* config.json and, behind the first NUL, generation_config.json. A descriptor that is accepted has
 * numbers that fit together. */
#include "checkpoint/config.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool condition)
{
    if (!condition) abort();
}

static void check(const px_desc *d)
{
    require(d->vocab_size > 0 && d->hidden_size > 0 && d->intermediate_size > 0);
    require(d->num_hidden_layers > 0 && d->head_dim > 0 && d->num_key_value_heads > 0);
    require(d->num_attention_heads % d->num_key_value_heads == 0);
    require(d->rotary_dim >= 2 && d->rotary_dim % 2 == 0 && d->rotary_dim <= d->head_dim);
    require(d->sliding_window >= 0 && d->max_position > 0 && d->original_max_position > 0);
    require(d->bos_id >= -1 && d->bos_id < d->vocab_size && d->eos_count <= PX_MOST_EOS);
    for (size_t i = 0; i < d->eos_count; i++)
        require(d->eos_ids[i] >= 0 && d->eos_ids[i] < d->vocab_size);
    require(d->temperature >= 0 && d->top_p >= 0 && d->top_p <= 1 && d->top_k >= 0);
    require(d->repetition_penalty > 0 && isfinite(d->rope_scale) && isfinite(d->rope_theta));
    require(px_desc_parameters(d) > 0);
    if (d->rotary_dim > 4096) return;
    float inverse[2048], cosine[2048], sine[2048];
    for (int is_long = 0; is_long < 2; is_long++) {
        px_rope_frequencies(d, d->longrope && is_long, inverse);
        px_rope_at(d, inverse, 12345, cosine, sine);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const uint8_t *const nul = size ? memchr(data, 0, size) : NULL;
    const size_t first = nul ? (size_t)(nul - data) : size;
    const phlox_text config = {(const char *)data, first};
    const phlox_text generation = {nul ? (const char *)nul + 1 : NULL, nul ? size - first - 1 : 0};
    px_desc desc;
    phlox_error error = {0};
    if (px_config_parse(config, "c.json", generation, "g.json", &desc, &error) == PHLOX_OK) {
        check(&desc);
        px_desc_free(&desc);
    } else {
        require(error.message[0]);
    }
    return 0;
}

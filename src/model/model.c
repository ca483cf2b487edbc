#include "model/model.h"

#include <math.h>
#include <stdlib.h>

bool px_role_is_norm(px_role role)
{
    return role == PX_INPUT_NORM || role == PX_POST_NORM || role == PX_FINAL_NORM;
}

bool px_role_is_layered(px_role role)
{
    return role != PX_EMBEDDING && role != PX_FINAL_NORM && role != PX_LM_HEAD;
}

const char *px_role_parameter(px_role role)
{
    static const char *const names[PX_ROLES] = {
        [PX_EMBEDDING] = "model.embed_tokens.weight",
        [PX_INPUT_NORM] = "input_layernorm.weight",
        [PX_QKV] = "self_attn.qkv_proj.weight",
        [PX_O] = "self_attn.o_proj.weight",
        [PX_POST_NORM] = "post_attention_layernorm.weight",
        [PX_GATE_UP] = "mlp.gate_up_proj.weight",
        [PX_DOWN] = "mlp.down_proj.weight",
        [PX_FINAL_NORM] = "model.norm.weight",
        [PX_LM_HEAD] = "lm_head.weight",
    };
    return names[role];
}

void px_role_shape(const px_desc *desc, px_role role, int64_t *rows, int64_t *columns)
{
    const int64_t head_dim = desc->head_dim, hidden = desc->hidden_size;
    const int64_t heads = desc->num_attention_heads, kv_heads = desc->num_key_value_heads;
    *columns = hidden;
    switch (role) {
    case PX_EMBEDDING:
    case PX_LM_HEAD: *rows = desc->vocab_size; break;
    case PX_QKV: *rows = (heads + 2 * kv_heads) * head_dim; break;
    case PX_O: *rows = hidden, *columns = heads * head_dim; break;
    case PX_GATE_UP: *rows = 2 * (int64_t)desc->intermediate_size; break;
    case PX_DOWN: *rows = hidden, *columns = desc->intermediate_size; break;
    default: *rows = 1; break;
    }
}

static phlox_status check_factors(const px_desc *desc, const float *factors, const char *key,
                                  const char *name, phlox_error *error)
{
    for (int32_t i = 0; i < desc->rotary_dim / 2; i++) {
        if (!(factors[i] > 0 && isfinite(factors[i])))
            return px_fail(error, PHLOX_ERROR_FORMAT,
                           "%s: rope_scaling.%s[%d] is %g; factors are positive numbers", name, key,
                           i, (double)factors[i]);
    }
    return PHLOX_OK;
}

phlox_status px_desc_check(const px_desc *desc, const char *name, phlox_error *error)
{
    if (desc->num_attention_heads % desc->num_key_value_heads)
        return px_fail(error, PHLOX_ERROR_FORMAT,
                       "%s: num_attention_heads %d is not a multiple of num_key_value_heads %d",
                       name, desc->num_attention_heads, desc->num_key_value_heads);
    if (desc->rotary_dim < 2 || desc->rotary_dim % 2 || desc->rotary_dim > desc->head_dim)
        return px_fail(error, PHLOX_ERROR_FORMAT,
                       "%s: partial_rotary_factor has %d of the %d values of a head rotated; it "
                       "must be an even number up to head_dim", name, desc->rotary_dim, desc->head_dim);
    if (!desc->longrope) return PHLOX_OK;
    PX_TRY(check_factors(desc, desc->short_factor, "short_factor", name, error));
    return check_factors(desc, desc->long_factor, "long_factor", name, error);
}

void px_desc_free(px_desc *desc)
{
    free(desc->short_factor);
    free(desc->long_factor);
    desc->short_factor = desc->long_factor = NULL;
}

uint64_t px_desc_parameters(const px_desc *desc)
{
    uint64_t sum = 0;
    for (int role = 0; role < PX_ROLES; role++) {
        if (role == PX_LM_HEAD && desc->tied_embeddings) continue;
        int64_t rows, columns;
        px_role_shape(desc, (px_role)role, &rows, &columns);
        const uint64_t times =
            px_role_is_layered((px_role)role) ? (uint64_t)desc->num_hidden_layers : 1;
        sum += times * (uint64_t)rows * (uint64_t)columns;
    }
    return sum;
}

bool px_desc_is_eos(const px_desc *desc, int32_t id)
{
    for (size_t i = 0; i < desc->eos_count; i++)
        if (desc->eos_ids[i] == id) return true;
    return false;
}

bool px_desc_is_long(const px_desc *desc, size_t length)
{
    return desc->longrope && length > (size_t)desc->original_max_position;
}

void px_rope_frequencies(const px_desc *desc, bool is_long, float *inverse)
{
    const float *const factor = is_long ? desc->long_factor : desc->short_factor;
    const float theta = (float)desc->rope_theta, dim = (float)desc->rotary_dim;
    for (int32_t i = 0; i < desc->rotary_dim / 2; i++) {
        const float power = powf(theta, (float)(2 * i) / dim);
        inverse[i] = 1.0f / (factor ? factor[i] * power : power);
    }
}

void px_rope_at(const px_desc *desc, const float *inverse, int64_t position, float *cosine,
                float *sine)
{
    for (int32_t i = 0; i < desc->rotary_dim / 2; i++) {
        const float angle = (float)position * inverse[i];
        cosine[i] = cosf(angle) * desc->rope_scale;
        sine[i] = sinf(angle) * desc->rope_scale;
    }
}

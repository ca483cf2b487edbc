#include "engine/forward.h"

#include <stdlib.h>
#include <string.h>

/* Room for a step of `capacity` tokens. Shapes are [capacity, ...]; f32 unless named. */
struct px_scratch {
    int64_t capacity, logits_capacity;
    float *x;        /* [hidden] the residual stream */
    float *normed;   /* [hidden] */
    float *qkv;      /* [(heads + 2 kv_heads) * head_dim] */
    float *mixed;    /* [heads * head_dim] attention's output */
    float *gate_up;  /* [2 * intermediate]; its first half becomes the input of down */
    float *projected; /* [hidden] output of o and down */
    float *logits_in; /* [hidden] rows whose logits are wanted */
    float *logits;   /* [logits_capacity, vocab] */
    float *cosine, *sine; /* [rotary_dim / 2] */
    int8_t *q8;      /* quantized input of the next matrix, in tiles as in px_activation */
    uint8_t *u8;     /* the same, where the kernels want it */
    float *q8_scale;
    int32_t *q8_sum, *q8_half_sum;
    float *inverse[2]; /* [rotary_dim / 2] frequencies, short and long */
};

static int64_t widest(const px_desc *desc)
{
    return PX_MAX(PX_MAX(desc->hidden_size, desc->intermediate_size),
                  (int64_t)desc->num_attention_heads * desc->head_dim);
}

static int64_t blocks_of(int64_t columns)
{
    return (columns + PX_COLUMN_BLOCK - 1) / PX_COLUMN_BLOCK;
}

/* ---- scratch ------------------------------------------------------------------------------- */

static void scratch_free(struct px_scratch *s)
{
    if (!s) return;
    void *const all[] = {s->x, s->normed, s->qkv, s->mixed, s->gate_up, s->projected,
                         s->logits_in, s->logits, s->cosine, s->sine, s->q8, s->u8,
                         s->q8_scale, s->q8_sum, s->q8_half_sum, s->inverse[0], s->inverse[1]};
    for (size_t i = 0; i < PX_COUNT(all); i++) px_aligned_free(all[i]);
    free(s);
}

static phlox_status take(void *pointer, int64_t rows, int64_t columns, size_t size,
                         phlox_error *error)
{
    const size_t bytes = px_mul(px_mul((size_t)rows, (size_t)columns), size);
    void *const memory = px_aligned_alloc(bytes);
    if (!memory) return px_fail_memory(error, bytes);
    memcpy(pointer, &memory, sizeof memory);
    return PHLOX_OK;
}

static phlox_status scratch_fill(const px_engine *engine, struct px_scratch *s, int64_t n,
                                 phlox_error *error)
{
    const px_desc *const d = engine->desc;
    const int64_t heads = (int64_t)d->num_attention_heads * d->head_dim;
    const int64_t kv = 2 * (int64_t)d->num_key_value_heads * d->head_dim;
    const int64_t blocks = blocks_of(widest(d));
    s->capacity = n;
    PX_TRY(take(&s->x, n, d->hidden_size, sizeof(float), error));
    PX_TRY(take(&s->normed, n, d->hidden_size, sizeof(float), error));
    PX_TRY(take(&s->qkv, n, heads + kv, sizeof(float), error));
    PX_TRY(take(&s->mixed, n, heads, sizeof(float), error));
    PX_TRY(take(&s->gate_up, n, 2 * (int64_t)d->intermediate_size, sizeof(float), error));
    PX_TRY(take(&s->projected, n, d->hidden_size, sizeof(float), error));
    PX_TRY(take(&s->logits_in, n, d->hidden_size, sizeof(float), error));
    PX_TRY(take(&s->cosine, n, d->rotary_dim / 2, sizeof(float), error));
    PX_TRY(take(&s->sine, n, d->rotary_dim / 2, sizeof(float), error));
    PX_TRY(take(&s->q8, n, blocks * PX_COLUMN_BLOCK, 1, error));
    if (n >= PX_MANY_TOKENS && engine->kernels->wants_u8)
        PX_TRY(take(&s->u8, n, blocks * PX_COLUMN_BLOCK, 1, error));
    PX_TRY(take(&s->q8_scale, n, blocks, sizeof(float), error));
    PX_TRY(take(&s->q8_sum, n, blocks, sizeof(int32_t), error));
    PX_TRY(take(&s->q8_half_sum, n, 2 * blocks, sizeof(int32_t), error));
    for (int i = 0; i < 2; i++) {
        PX_TRY(take(&s->inverse[i], 1, d->rotary_dim / 2, sizeof(float), error));
        px_rope_frequencies(d, i == 1, s->inverse[i]);
    }
    return PHLOX_OK;
}

static phlox_status scratch_grow(px_engine *engine, int64_t n, phlox_error *error)
{
    if (!engine->scratch || engine->scratch->capacity < n) {
        scratch_free(engine->scratch);
        engine->scratch = px_calloc(1, sizeof *engine->scratch);
        if (!engine->scratch) return px_fail_memory(error, sizeof *engine->scratch);
        const phlox_status status = scratch_fill(engine, engine->scratch, n, error);
        if (status != PHLOX_OK) {
            px_engine_free(engine);
            return status;
        }
    }
    return PHLOX_OK;
}

void px_engine_free(px_engine *engine)
{
    scratch_free(engine->scratch);
    px_attention_free(engine->attention);
    engine->scratch = NULL;
    engine->attention = NULL;
}

/* ---- the pieces of a layer, each for one token ----------------------------------------------- */

struct step {
    const px_engine *engine;
    const px_step_token *tokens;
    int64_t count;
    const float *norm;
    bool is_pending; /* the last product is still to be added to the residual stream */
};

static void embed(void *context, int64_t begin, int64_t end)
{
    const struct step *const step = context;
    const px_engine *const e = step->engine;
    const px_weight *const embedding = &e->weights->embedding;
    const int64_t hidden = e->desc->hidden_size, half = e->desc->rotary_dim / 2;
    for (int64_t t = begin; t < end; t++) {
        const px_step_token *const token = &step->tokens[t];
        e->kernels->dequantize[embedding->type](embedding, token->id, e->scratch->x + t * hidden);
        px_rope_at(e->desc, e->scratch->inverse[token->is_long], (int64_t)token->position,
                   e->scratch->cosine + t * half, e->scratch->sine + t * half);
    }
}

static void normalise_to(const struct step *step, int64_t t, float *out)
{
    const px_engine *const e = step->engine;
    const int64_t hidden = e->desc->hidden_size;
    float *const x = e->scratch->x + t * hidden;
    if (step->is_pending) e->kernels->add(x, e->scratch->projected + t * hidden, hidden);
    e->kernels->rms_norm(x, step->norm, hidden, e->desc->rms_norm_eps, out);
}

static void normalise(const struct step *step, int64_t t)
{
    normalise_to(step, t, step->engine->scratch->normed + t * step->engine->desc->hidden_size);
}

static void activate(const struct step *step, int64_t t)
{
    const px_engine *const e = step->engine;
    const int64_t inner = e->desc->intermediate_size;
    float *const gate = e->scratch->gate_up + t * 2 * inner;
    e->kernels->swiglu(gate, gate + inner, inner, gate);
}

/* ---- matrices ------------------------------------------------------------------------------ */

enum { PIECES = 16 /* of a thread's rows, so that another can help when a core is slow */ };

struct product {
    const struct step *step;
    void (*prepare)(const struct step *step, int64_t token);
    const px_weight *weight;
    px_activation x;
    float *y; /* [tokens, rows] */
};

static void prepare_tokens(void *context, int64_t begin, int64_t end)
{
    const struct product *const p = context;
    const px_engine *const e = p->step->engine;
    struct px_scratch *const s = e->scratch;
    const int64_t columns = p->x.columns, blocks = blocks_of(columns);
    for (int64_t t = begin; t < end; t++) {
        if (p->prepare) p->prepare(p->step, t);
        if (!p->x.q8) continue;
        const int64_t first = t / PX_TOKEN_TILE * PX_TOKEN_TILE;
        const int64_t tokens = PX_MIN(p->x.tokens - first, PX_TOKEN_TILE);
        e->kernels->quantize(p->x.f32 + t * p->x.f32_stride, columns, (int)(t - first),
                             (int)tokens, s->q8 + first * blocks * PX_COLUMN_BLOCK,
                             s->q8_scale + first * blocks, s->q8_sum + first * blocks);
    }
    const int64_t row = blocks * PX_COLUMN_BLOCK;
    for (int64_t t = begin; p->x.half_sums && t < end; t += PX_TOKEN_TILE)
        px_half_sums(s->q8 + t * blocks * PX_COLUMN_BLOCK, blocks,
                     PX_MIN(p->x.tokens - t, PX_TOKEN_TILE), s->q8_half_sum + t * 2 * blocks);
    if (p->x.u8) px_shift_activations(s->q8 + begin * row, (end - begin) * row, s->u8 + begin * row);
}

static void product_rows(void *context, int64_t begin, int64_t end)
{
    const struct product *const p = context;
    px_matmul(p->step->engine->kernels, p->weight, begin, end, &p->x, p->y, p->weight->rows);
}

/* y [tokens, rows] = x [tokens, columns] times the transposed weight. `prepare` makes a token's x, and
 * where it is NULL they are there. */
static void multiply(const struct step *step, const px_weight *weight,
                     void (*prepare)(const struct step *step, int64_t token), const float *x,
                     int64_t stride, int64_t tokens, float *y)
{
    const px_engine *const e = step->engine;
    const struct px_scratch *const s = e->scratch;
    struct product p = {
        .step = step,
        .prepare = prepare,
        .weight = weight,
        .x = {.tokens = tokens, .columns = weight->columns, .f32_stride = stride, .f32 = x},
        .y = y,
    };
    const bool is_integer = weight->type == PX_WEIGHT_I8 || weight->type == PX_WEIGHT_I4;
    if (is_integer && !e->exact) {
        p.x.q8 = s->q8;
        p.x.q8_scale = s->q8_scale;
        p.x.half_sums = px_weight_has_halves(weight);
        p.x.q8_sum = p.x.half_sums ? s->q8_half_sum : s->q8_sum;
        if (tokens >= PX_MANY_TOKENS && weight->type == PX_WEIGHT_I4) p.x.u8 = s->u8;
    }
    /* tiles of q8 whole: their tokens share cache lines */
    const int64_t together = p.x.q8 ? PX_TOKEN_TILE : 1;
    if (prepare || p.x.q8) px_pool_for(e->pool, tokens, together, prepare_tokens, &p);
    const int64_t grain = tokens == 1 ? PX_ROW_TILE : 2 * PX_ROW_TILE; /* many go by pairs of tiles */
    const int64_t pieces = (int64_t)px_pool_threads(e->pool) * PIECES;
    const int64_t piece = (weight->rows / pieces + grain - 1) / grain * grain;
    px_pool_take(e->pool, weight->rows, PX_MAX(piece, grain), product_rows, &p);
}

/* ---- the network --------------------------------------------------------------------------- */

static void run_layer(struct step *step, int64_t layer)
{
    const px_engine *const e = step->engine;
    const px_layer_weights *const w = &e->weights->layers[layer];
    struct px_scratch *const s = e->scratch;
    const int64_t n = step->count, hidden = e->desc->hidden_size;
    const int64_t heads = e->desc->num_attention_heads, inner = e->desc->intermediate_size;

    step->norm = w->input_norm;
    multiply(step, &w->qkv, normalise, s->normed, hidden, n, s->qkv);
    px_attention_run(e->attention, layer, s->qkv, s->cosine, s->sine, s->mixed);
    multiply(step, &w->o, NULL, s->mixed, heads * e->desc->head_dim, n, s->projected);
    step->is_pending = true;

    step->norm = w->post_norm;
    multiply(step, &w->gate_up, normalise, s->normed, hidden, n, s->gate_up);
    multiply(step, &w->down, activate, s->gate_up, 2 * inner, n, s->projected);
}

/* Final norm and lm_head, only for the tokens whose logits are wanted. */
static phlox_status run_head(struct step *step, phlox_error *error)
{
    const px_engine *const e = step->engine;
    struct px_scratch *const s = e->scratch;
    const int64_t hidden = e->desc->hidden_size, vocab = e->desc->vocab_size;
    int64_t wanted = 0;
    step->norm = e->weights->final_norm;
    for (int64_t t = 0; t < step->count; t++)
        if (step->tokens[t].logits) normalise_to(step, t, s->logits_in + wanted++ * hidden);
    if (!wanted) return PHLOX_OK;
    if (wanted > s->logits_capacity) {
        px_aligned_free(s->logits);
        s->logits = NULL;
        s->logits_capacity = 0;
        PX_TRY(take(&s->logits, wanted, vocab, sizeof(float), error));
        s->logits_capacity = wanted;
    }
    multiply(step, &e->weights->lm_head, NULL, s->logits_in, hidden, wanted, s->logits);
    const float *row = s->logits;
    for (int64_t t = 0; t < step->count; t++) {
        if (!step->tokens[t].logits) continue;
        memcpy(step->tokens[t].logits, row, (size_t)vocab * sizeof *row);
        row += vocab;
    }
    return PHLOX_OK;
}

phlox_status px_forward(px_engine *engine, const px_step_token *tokens, int64_t count,
                        phlox_error *error)
{
    PX_TRY(scratch_grow(engine, count, error));
    PX_TRY(px_attention_plan(&engine->attention, engine->desc, engine->kernels, engine->pool, tokens,
                             count, error));
    struct step step = {.engine = engine, .tokens = tokens, .count = count};
    px_pool_for(engine->pool, count, 1, embed, &step);
    for (int64_t layer = 0; layer < engine->desc->num_hidden_layers; layer++)
        run_layer(&step, layer);
    return run_head(&step, error);
}

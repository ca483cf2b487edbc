/* GGUF files: every tensor against gguf's own dequantization, logits against transformers, and files
 * that were made to hurt. tests/golden/make_gguf.py made the fixtures. */
#include "checkpoints.h"

#include "base/json.h"
#include "checkpoint/gguf_config.h"
#include "checkpoint/gguf_file.h"

#include <phlox/tools.h>

#define GGUF PHLOX_SOURCE_DIR "/tests/golden/gguf"

/* ---- tensors ------------------------------------------------------------------------------- */

/* CRC-32 as zlib computes it. */
static uint32_t crc32_of(const void *data, size_t size)
{
    const uint8_t *const bytes = data;
    uint32_t crc = UINT32_MAX;
    for (size_t i = 0; i < size; i++) {
        crc ^= bytes[i];
        for (int bit = 0; bit < 8; bit++) crc = crc >> 1 ^ (crc & 1 ? UINT32_C(0xedb88320) : 0);
    }
    return ~crc;
}

/* All rows at once, or one at a time. */
static uint32_t crc_of(const px_tensor *tensor, bool singly)
{
    const size_t values = (size_t)(tensor->rows * tensor->columns);
    float *const loaded = calloc(values, sizeof *loaded);
    void *const scratch = malloc(px_tensor_scratch(tensor, tensor->rows) + 1);
    assert_non_null(loaded);
    assert_non_null(scratch);
    const int64_t step = singly ? 1 : tensor->rows;
    for (int64_t row = 0; row < tensor->rows; row += step)
        px_tensor_load(tensor, row, step, loaded + row * tensor->columns, scratch);
    const uint32_t crc = crc32_of(loaded, values * sizeof *loaded);
    free(loaded);
    free(scratch);
    return crc;
}

struct seen {
    size_t members;
    char encodings[256];
};

static void check_tensors(const char *path, const char *name, void *user)
{
    struct seen *const seen = user;
    char file[TEST_PATH];
    test_path(file, "%s/tensors.json", path);
    if (!test_exists(file)) return;
    json_t *const wanted = json_load_file(file, 0, NULL);
    assert_non_null(wanted);
    px_checkpoint *checkpoint = test_open(path);
    assert_string_equal(checkpoint->form, "gguf");
    size_t tensors = 0;
    for (int role = 0; role < PX_ROLES; role++) {
        const bool layered = px_role_is_layered((px_role)role);
        for (int32_t i = 0; i < (layered ? checkpoint->desc.num_hidden_layers : 1); i++) {
            const px_tensor *const tensor = px_checkpoint_tensor(checkpoint, (px_role)role, i);
            if (!tensor) continue;
            const json_t *const crc = json_object_get(wanted, tensor->name);
            assert_true(json_is_integer(crc));
            for (int singly = 0; singly < 2; singly++)
                if (crc_of(tensor, singly) != json_integer_value(crc))
                    fail_msg("%s: %s (%s) differs", name, tensor->name, tensor->encoding);
            if (tensor->encoding)
                px_describe_once(seen->encodings, sizeof seen->encodings, tensor->encoding);
            tensors++;
        }
    }
    assert_int_equal(json_object_size(wanted) - tensors, checkpoint->desc.longrope ? 2 : 0);
    px_checkpoint_close(&checkpoint);
    json_decref(wanted);
    seen->members++;
}

static void every_tensor_is_what_gguf_makes_of_it(void **state)
{
    (void)state;
    static const char *const all[] = {"Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0",  "Q2_K",
                                      "Q3_K", "Q4_K", "Q5_K", "Q6_K", "IQ4_NL"};
    struct seen seen = {0};
    test_for_each(GGUF, check_tensors, &seen);
    assert_true(seen.members >= 15);
    for (size_t i = 0; i < PX_COUNT(all); i++)
        if (!strstr(seen.encodings, all[i])) fail_msg("no fixture has %s", all[i]);
}

static void check_steps(const px_tensor *tensor)
{
    enum { MOST = 64 };
    int8_t steps[MOST];
    float wanted[MOST], scales[MOST];
    uint8_t *const q = malloc((size_t)tensor->columns);
    assert_non_null(q);
    const int64_t groups = px_tensor_groups(tensor), together = 256 / tensor->integers.group_size;
    assert_true(groups <= MOST);
    for (int64_t row = 0; row < tensor->rows; row++) {
        for (int minima = 0; minima < (tensor->integers.read_minima ? 2 : 1); minima++) {
            if (minima) tensor->integers.read_minima(tensor, row, 1, wanted);
            else tensor->integers.read(tensor, row, 1, q, wanted, NULL);
            tensor->integers.read_steps(tensor, row, 1, minima, steps, scales);
            for (int64_t i = 0; i < groups; i++)
                assert_true(scales[i / together] * (float)steps[i] == wanted[i]);
        }
    }
    free(q);
}

/* Steps times what they are steps of are the scales and minima. */
static void steps_are_of_scales(void **state)
{
    (void)state;
    static const char *const members[] = {"q2_k", "q3_k_m", "q4_k_m", "q5_k_m"};
    static const px_role roles[] = {PX_EMBEDDING, PX_QKV, PX_O, PX_GATE_UP, PX_LM_HEAD};
    for (size_t i = 0; i < PX_COUNT(members) * PX_COUNT(roles); i++) {
        char path[TEST_PATH];
        px_checkpoint *checkpoint = test_open(test_path(path, GGUF "/%s", members[i / PX_COUNT(roles)]));
        const px_tensor *const tensor =
            px_checkpoint_tensor(checkpoint, roles[i % PX_COUNT(roles)], 0);
        assert_non_null(tensor->integers.read_steps);
        check_steps(tensor);
        px_checkpoint_close(&checkpoint);
    }
}

static void integers_stay_integers(void **state)
{
    (void)state;
    static const struct {
        const char *member;
        int bits;
        const char *encoding;
        bool minima;
    } cases[] = {{"q8_0", 8, "Q8_0", false}, {"q4_0", 4, "Q4_0", false},  {"q5_0", 8, "Q5_0", false},
                 {"iq4_nl", 8, "IQ4_NL", false}, {"q4_1", 4, "Q4_1", true}, {"q5_1", 8, "Q5_1", true},
                 {"q2_k", 4, "Q4_K", true},  {"q3_k_m", 8, "Q5_K", true}, {"q5_k_m", 8, "Q6_K", false}};
    for (size_t i = 0; i < PX_COUNT(cases); i++) {
        char path[TEST_PATH];
        px_checkpoint *checkpoint = test_open(test_path(path, GGUF "/%s", cases[i].member));
        const px_tensor *const qkv = px_checkpoint_tensor(checkpoint, PX_QKV, 0);
        assert_true(checkpoint->quantized);
        assert_int_equal(qkv->integers.bits, cases[i].bits);
        assert_string_equal(qkv->encoding, cases[i].encoding);
        const bool is_k = strstr(cases[i].encoding, "_K");
        assert_int_equal(qkv->integers.group_size, strcmp(cases[i].encoding, "Q6_K") == 0 ? 16 : 32);
        assert_int_equal(qkv->integers.symmetric, !cases[i].minima);
        assert_int_equal(qkv->integers.read_minima != NULL, cases[i].minima);
        assert_int_equal(qkv->integers.read_steps != NULL, is_k);
        assert_true(qkv->integers.half_scales);
        assert_int_equal(qkv->load != NULL, cases[i].minima || is_k);
        px_checkpoint_close(&checkpoint);
    }
    px_checkpoint *checkpoint = test_open(GGUF "/f16");
    assert_false(checkpoint->quantized);
    assert_int_equal(checkpoint->type, PX_FLOAT_F16);
    px_checkpoint_close(&checkpoint);
}

/* ---- the descriptor ------------------------------------------------------------------------ */

static void keys_become_the_descriptor(void **state)
{
    (void)state;
    px_checkpoint *checkpoint = test_open(GGUF "/longrope");
    const px_desc *desc = &checkpoint->desc;
    assert_int_equal(desc->hidden_size, 96);
    assert_int_equal(desc->num_attention_heads, 3);
    assert_int_equal(desc->num_key_value_heads, 1);
    assert_int_equal(desc->head_dim, 32);
    assert_int_equal(desc->rotary_dim, 24);
    assert_int_equal(desc->max_position, 128);
    assert_int_equal(desc->original_max_position, 32);
    assert_int_equal(desc->sliding_window, 262144);
    assert_true(desc->longrope && desc->tied_embeddings);
    assert_float_equal(desc->rope_scale, 1.1832159566199232f, 1e-6);
    assert_float_equal(desc->rms_norm_eps, 1e-5f, 0);
    assert_int_equal(desc->bos_id, 1);
    assert_int_equal(desc->eos_count, 1);
    assert_int_equal(desc->eos_ids[0], 2);
    assert_int_equal(checkpoint->tokenizer_json.size, 0);
    px_checkpoint_close(&checkpoint);
    checkpoint = test_open(GGUF "/window");
    assert_int_equal(checkpoint->desc.sliding_window, 11);
    assert_int_equal(checkpoint->type, PX_FLOAT_BF16);
    px_checkpoint_close(&checkpoint);
    checkpoint = test_open(GGUF "/v2");
    assert_int_equal(checkpoint->desc.sliding_window, 0);
    assert_false(checkpoint->desc.longrope);
    px_checkpoint_close(&checkpoint);
}

struct sized {
    const char *key;
    uint32_t value;
};

/* What px_gguf_config() makes of numbers alone; free it. */
static char *config_of(const struct sized *keys, size_t count)
{
    char file[1024] = "GGUF\3";
    memcpy(file + 16, &count, 8);
    size_t size = 24;
    for (size_t i = 0; i < count; i++) {
        const uint64_t length = strlen(keys[i].key);
        const uint32_t type = PX_GGUF_U32;
        assert_true(size + length + 16 <= sizeof file);
        memcpy(file + size, &length, 8);
        memcpy(file + size + 8, keys[i].key, (size_t)length);
        memcpy(file + size + 8 + length, &type, 4);
        memcpy(file + size + 12 + length, &keys[i].value, 4);
        size += (size_t)length + 16;
    }
    px_gguf gguf;
    px_buffer text = {0};
    phlox_error error;
    MUST(px_gguf_parse((phlox_text){file, size}, "x", &gguf, &error));
    MUST(px_gguf_config(&gguf, &(px_gguf_tensors){.vocab_size = 32064}, &text, &error));
    MUST(px_buffer_add(&text, "", 1, &error));
    px_gguf_free(&gguf);
    return text.data;
}

/* The window of the first 4k files, whose converter left it out. */
static void a_window_without_its_key(void **state)
{
    (void)state;
    static const struct {
        uint32_t layers, context, given;
        const char *window;
    } cases[] = {{32, 4096, UINT32_MAX, "\"sliding_window\": 2047"},
                 {40, 4096, UINT32_MAX, "\"sliding_window\": 2047"},
                 {32, 4096, 0, "\"sliding_window\": null"},
                 {32, 4096, 100, "\"sliding_window\": 100"},
                 {40, 16384, UINT32_MAX, "\"sliding_window\": null"}};
    for (size_t i = 0; i < PX_COUNT(cases); i++) {
        const struct sized keys[] = {{"phi3.embedding_length", 3072},
                                     {"phi3.feed_forward_length", 8192},
                                     {"phi3.attention.head_count", 32},
                                     {"phi3.block_count", cases[i].layers},
                                     {"phi3.context_length", cases[i].context},
                                     {"phi3.attention.sliding_window", cases[i].given}};
        char *const text = config_of(keys, PX_COUNT(keys) - (cases[i].given == UINT32_MAX));
        if (!strstr(text, cases[i].window)) fail_msg("case %zu: %s", i, text);
        free(text);
    }
}

/* ---- logits -------------------------------------------------------------------------------- */

static void check_logits(const char *path, const char *name, void *user)
{
    char file[TEST_PATH];
    if (!test_exists(test_path(file, "%s/ids.npy", path))) return;
    test_npy ids = test_npy_open(file);
    test_npy wanted = test_npy_open(test_path(file, "%s/logits.npy", path));
    phlox_model_options options;
    phlox_model_options_init(&options);
    options.no_cache = options.exact = true;
    options.threads = 2;
    phlox_model *model = NULL;
    phlox_session *session = NULL;
    phlox_error error;
    MUST(phlox_model_open(path, &options, &model, &error));
    MUST(phlox_session_create(model, &session, &error));
    float *const got = calloc((size_t)(wanted.rows * wanted.columns), sizeof *got);
    assert_non_null(got);
    MUST(phlox_session_append(session, ids.ints, (size_t)ids.rows, got, NULL, NULL, &error));
    test_close(name, got, wanted.floats, (size_t)(wanted.rows * wanted.columns), 1e-3);
    free(got);
    phlox_session_close(&session);
    phlox_model_close(&model);
    test_npy_close(&ids);
    test_npy_close(&wanted);
    ++*(size_t *)user;
}

static void logits_are_those_of_transformers(void **state)
{
    (void)state;
    size_t members = 0;
    test_for_each(GGUF, check_logits, &members);
    assert_true(members >= 15);
}

/* ---- paths --------------------------------------------------------------------------------- */

static void opens_files_directories_and_parts(void **state)
{
    (void)state;
    static const char *const paths[] = {GGUF "/split", GGUF "/split/model-00001-of-00003.gguf",
                                        GGUF "/split/model-00003-of-00003.gguf"};
    for (size_t i = 0; i < PX_COUNT(paths); i++) {
        px_checkpoint *checkpoint = test_open(paths[i]);
        assert_int_equal(checkpoint->desc.num_hidden_layers, 2);
        assert_non_null(checkpoint->state);
        px_checkpoint_close(&checkpoint);
    }
    px_checkpoint *checkpoint = test_open(GGUF "/q8_0/model.gguf");
    px_checkpoint_close(&checkpoint);
}

static void several_models_and_missing_parts(void **state)
{
    (void)state;
    char directory[TEST_PATH], path[TEST_PATH];
    px_checkpoint *checkpoint = NULL;
    phlox_error error;
    test_directory(directory);
    test_copy(GGUF "/split", directory);
    remove(test_path(path, "%s/model-00002-of-00003.gguf", directory));
    MUST_FAIL(px_checkpoint_open(directory, &checkpoint, &error), PHLOX_ERROR_NOT_FOUND,
              "model-00002-of-00003.gguf");
    /* A part under another part's name. */
    size_t size;
    char *bytes = test_read(GGUF "/split/model-00003-of-00003.gguf", &size);
    test_write(path, bytes, size);
    free(bytes);
    MUST_FAIL(px_checkpoint_open(directory, &checkpoint, &error), PHLOX_ERROR_FORMAT,
              "it says that it is part 3 of 3, its name says 2 of 3");
    test_copy(GGUF "/split", directory);
    bytes = test_read(GGUF "/split/model-00001-of-00003.gguf", &size);
    test_write(test_path(path, "%s/other.gguf", directory), bytes, size);
    MUST_FAIL(px_checkpoint_open(path, &checkpoint, &error), PHLOX_ERROR_FORMAT,
              "it says that it is part 1 of 3, its name says 1 of 1");
    free(bytes);
    MUST_FAIL(px_checkpoint_open(directory, &checkpoint, &error), PHLOX_ERROR_ARGUMENT,
              "several models");
    assert_null(checkpoint);
    /* A checkpoint of safetensors stays one. */
    test_copy(PHLOX_SOURCE_DIR "/tests/golden/family/f32", directory);
    MUST(px_checkpoint_open(directory, &checkpoint, &error));
    assert_string_equal(checkpoint->form, "huggingface");
    px_checkpoint_close(&checkpoint);
    test_remove(directory);
}

/* ---- hostile ------------------------------------------------------------------------------- */

struct hostile {
    char directory[TEST_PATH], path[TEST_PATH];
    char *bytes;
    size_t size;
};

static struct hostile hostile_begin(const char *member)
{
    struct hostile h;
    test_directory(h.directory);
    test_path(h.path, "%s/model.gguf", h.directory);
    char from[TEST_PATH];
    h.bytes = test_read(test_path(from, GGUF "/%s/model.gguf", member), &h.size);
    return h;
}

static void hostile_end(struct hostile *h)
{
    free(h->bytes);
    test_remove(h->directory);
}

/* The first place of some bytes behind a key or name. */
static size_t place_of(const struct hostile *h, const char *name)
{
    const size_t length = strlen(name);
    for (size_t i = 0; i + length <= h->size; i++)
        if (memcmp(h->bytes + i, name, length) == 0) return i + length;
    fail_msg("no %s", name);
    return 0;
}

/* Opening must fail with these bytes at a place, which are put back. */
static void must_fail_with(struct hostile *h, size_t at, const void *bytes, size_t size,
                           phlox_status status, const char *word)
{
    px_checkpoint *checkpoint = NULL;
    phlox_error error;
    char old[64];
    assert_true(size <= sizeof old && at + size <= h->size);
    memcpy(old, h->bytes + at, size);
    memcpy(h->bytes + at, bytes, size);
    test_write(h->path, h->bytes, h->size);
    MUST_FAIL(px_checkpoint_open(h->path, &checkpoint, &error), status, word);
    memcpy(h->bytes + at, old, size);
}

static void must_fail_with_u64(struct hostile *h, size_t at, uint64_t value, const char *word)
{
    must_fail_with(h, at, &value, 8, PHLOX_ERROR_FORMAT, word);
}

static void must_fail_with_u32(struct hostile *h, size_t at, uint32_t value, phlox_status status,
                               const char *word)
{
    must_fail_with(h, at, &value, 4, status, word);
}

/* Every length of the header, and lengths in the data: each is an error, none a crash. */
static void truncated_anywhere(void **state)
{
    (void)state;
    static const char *const members[] = {"v2", "q8_0", "vocab-llama"};
    for (size_t m = 0; m < PX_COUNT(members); m++) {
        struct hostile h = hostile_begin(members[m]);
        px_gguf gguf;
        phlox_error error;
        MUST(px_gguf_parse((phlox_text){h.bytes, h.size}, "x.gguf", &gguf, &error));
        const size_t header = gguf.header_size;
        px_gguf_free(&gguf);
        for (size_t size = 0; size < h.size; size += size < header ? 1 : 997) {
            /* A copy of its own size, so that reading behind it is seen. */
            char *const cut = malloc(size + 1);
            assert_non_null(cut);
            memcpy(cut, h.bytes, size);
            MUST_FAIL(px_gguf_parse((phlox_text){cut, size}, "x.gguf", &gguf, &error),
                      PHLOX_ERROR_FORMAT, "x.gguf");
            free(cut);
        }
        hostile_end(&h);
    }
}

static void counts_and_lengths(void **state)
{
    (void)state;
    struct hostile h = hostile_begin("q8_0");
    static const uint64_t much[] = {UINT64_MAX, UINT64_C(1) << 63, UINT64_C(1) << 61, 1 << 20};
    for (size_t i = 0; i < PX_COUNT(much); i++) {
        must_fail_with_u64(&h, 8, much[i], "the header counts");
        must_fail_with_u64(&h, 16, much[i], "the header counts");
        must_fail_with_u64(&h, 24, much[i], "ends inside a key");
        must_fail_with_u64(&h, place_of(&h, "general.architecture") + 4, much[i], "inside a text");
        must_fail_with_u64(&h, place_of(&h, "output_norm.weight") - 26, much[i], "model.gguf");
    }
    must_fail_with(&h, 0, "GGML", 4, PHLOX_ERROR_FORMAT, "a .gguf file");
    must_fail_with_u32(&h, 4, 1, PHLOX_ERROR_UNSUPPORTED, "version 1");
    must_fail_with_u32(&h, 4, UINT32_C(3) << 24, PHLOX_ERROR_UNSUPPORTED, "big endian");
    must_fail_with_u64(&h, 24, 0, "a key of 0 bytes");
    hostile_end(&h);
}

static void tensors_that_lie(void **state)
{
    (void)state;
    struct hostile h = hostile_begin("q8_0");
    /* A name is followed by its number of dimensions, these, the encoding, and the offset. */
    const size_t qkv = place_of(&h, "blk.0.attn_qkv.weight");
    static const uint64_t sizes[] = {0, UINT64_C(1) << 63, UINT64_MAX, UINT64_C(1) << 62};
    for (size_t i = 0; i < PX_COUNT(sizes); i++) {
        must_fail_with_u64(&h, qkv + 4, sizes[i], "which no file holds");
        must_fail_with_u64(&h, qkv + 12, sizes[i], "which no file holds");
    }
    must_fail_with_u32(&h, qkv, 0, PHLOX_ERROR_FORMAT, "dimensions");
    must_fail_with_u32(&h, qkv, 5, PHLOX_ERROR_FORMAT, "dimensions");
    must_fail_with_u32(&h, qkv, UINT32_MAX, PHLOX_ERROR_FORMAT, "dimensions");
    must_fail_with_u64(&h, qkv + 4, 63, "has blocks of 32");
    must_fail_with_u64(&h, qkv + 12, 64, "the keys make it");
    must_fail_with_u32(&h, qkv + 20, 23, PHLOX_ERROR_UNSUPPORTED, "IQ4_XS");
    must_fail_with_u32(&h, qkv + 20, 4000000000u, PHLOX_ERROR_UNSUPPORTED, "unknown");
    must_fail_with_u64(&h, qkv + 24, 1, "is not aligned");
    must_fail_with_u64(&h, qkv + 24, 0, "lies in another tensor");
    must_fail_with_u64(&h, qkv + 24, 1 << 20, "it is truncated");
    must_fail_with_u64(&h, qkv + 24, UINT64_MAX - 31, "it is truncated");
    must_fail_with(&h, qkv - 17, "z", 1, PHLOX_ERROR_UNSUPPORTED, "not part of a phi3 model");
    must_fail_with(&h, qkv - 17, "\0", 1, PHLOX_ERROR_FORMAT, "without a NUL");
    must_fail_with(&h, place_of(&h, "blk.0.attn_output.weight") - 20, "9", 1,
                   PHLOX_ERROR_UNSUPPORTED, "blk.9.attn_output.weight");
    must_fail_with(&h, place_of(&h, "blk.0.ffn_down.weight") - 11, "norm", 4, PHLOX_ERROR_FORMAT,
                   "ffn_norm.weight");
    /* Two norms of one name. */
    must_fail_with(&h, place_of(&h, "blk.0.ffn_norm.weight") - 15, "attn_norm.weigh", 15,
                   PHLOX_ERROR_UNSUPPORTED, "not part of");
    hostile_end(&h);
}

static void keys_of_wrong_types(void **state)
{
    (void)state;
    struct hostile h = hostile_begin("q8_0");
    const size_t hidden = place_of(&h, "phi3.embedding_length");
    must_fail_with_u32(&h, hidden, PX_GGUF_F32, PHLOX_ERROR_FORMAT, "is not a whole number");
    must_fail_with_u32(&h, hidden, PX_GGUF_TYPES, PHLOX_ERROR_FORMAT, "a value has the type");
    must_fail_with_u32(&h, hidden, UINT32_MAX, PHLOX_ERROR_FORMAT, "a value has the type");
    must_fail_with_u32(&h, hidden + 4, 0, PHLOX_ERROR_FORMAT, "outside of 1 to");
    must_fail_with_u32(&h, hidden + 4, UINT32_MAX, PHLOX_ERROR_FORMAT, "outside of 1 to");
    must_fail_with_u32(&h, hidden + 4, 65, PHLOX_ERROR_FORMAT, "model.gguf");
    must_fail_with(&h, hidden - 1, "x", 1, PHLOX_ERROR_FORMAT,
                   "the key phi3.embedding_length is missing");
    must_fail_with_u32(&h, place_of(&h, "phi3.block_count") + 4, 2, PHLOX_ERROR_NOT_FOUND,
                       "blk.1.");
    must_fail_with_u32(&h, place_of(&h, "phi3.attention.head_count_kv") + 4, 3, PHLOX_ERROR_FORMAT,
                       "head_count_kv is 3");
    must_fail_with_u32(&h, place_of(&h, "phi3.rope.dimension_count") + 4, 33, PHLOX_ERROR_FORMAT,
                       "dimension_count is 33");
    must_fail_with_u32(&h, place_of(&h, "phi3.rope.scaling.original_context_length") + 4, 64,
                       PHLOX_ERROR_UNSUPPORTED, "no rope_factors_long.weight");
    const size_t epsilon = place_of(&h, "phi3.attention.layer_norm_rms_epsilon");
    must_fail_with_u32(&h, epsilon + 4, 0x7fc00000, PHLOX_ERROR_FORMAT, "epsilon is nan");
    must_fail_with(&h, place_of(&h, "general.architecture") + 12, "llam", 4,
                   PHLOX_ERROR_UNSUPPORTED, "general.architecture is llam");
    must_fail_with(&h, place_of(&h, "no_vocab") - 8, "wordpiec", 8, PHLOX_ERROR_UNSUPPORTED,
                   "tokenizer.ggml.model is wordpiec");
    must_fail_with_u32(&h, place_of(&h, "tokenizer.ggml.bos_token_id") + 4, 64, PHLOX_ERROR_FORMAT,
                       "bos_token_id is 64");
    hostile_end(&h);
}

static void vocabularies_that_lie(void **state)
{
    (void)state;
    struct hostile h = hostile_begin("vocab-llama");
    /* Key, type, item type, count, and the length of the first token. */
    const size_t tokens = place_of(&h, "tokenizer.ggml.tokens");
    static const uint64_t much[] = {UINT64_MAX, UINT64_C(1) << 61, 1 << 28};
    for (size_t i = 0; i < PX_COUNT(much); i++) {
        must_fail_with_u64(&h, tokens + 8, much[i], "model.gguf");
        must_fail_with_u64(&h, tokens + 16, much[i], "inside a text");
        must_fail_with_u64(&h, place_of(&h, "tokenizer.ggml.scores") + 8, much[i], "model.gguf");
    }
    must_fail_with_u32(&h, place_of(&h, "tokenizer.ggml.scores") + 4, PX_GGUF_I32,
                       PHLOX_ERROR_FORMAT, "tokenizer.ggml.scores is not an array of the type");
    must_fail_with(&h, place_of(&h, "tokenizer.ggml.scores") - 1, "x", 1, PHLOX_ERROR_FORMAT,
                   "tokenizer.ggml.scores has 0 items");
    const size_t scores = place_of(&h, "tokenizer.ggml.scores") + 16;
    must_fail_with_u32(&h, scores + 4 * 300, 0x7fc00000, PHLOX_ERROR_FORMAT,
                       "token 300 has a score that is not a number");
    must_fail_with(&h, tokens + 24 + 1, "\xff", 1, PHLOX_ERROR_FORMAT, "token 0 is not UTF-8");
    must_fail_with(&h, tokens + 24 + 1, "\0", 1, PHLOX_ERROR_FORMAT, "token 0 is not UTF-8");
    must_fail_with(&h, place_of(&h, "<0x41>") - 2, "2", 1, PHLOX_ERROR_FORMAT, "is there twice");
    must_fail_with_u32(&h, place_of(&h, "tokenizer.ggml.unknown_token_id") + 4, UINT32_MAX,
                       PHLOX_ERROR_FORMAT, "unknown_token_id");
    hostile_end(&h);
    h = hostile_begin("vocab-phi4");
    must_fail_with(&h, place_of(&h, "tokenizer.ggml.pre") + 12, "gpt2", 4, PHLOX_ERROR_UNSUPPORTED,
                   "tokenizer.ggml.pre is gpt2");
    must_fail_with(&h, place_of(&h, "tokenizer.ggml.merges") - 1, "x", 1, PHLOX_ERROR_FORMAT,
                   "tokenizer.ggml.merges is missing");
    hostile_end(&h);
}

/* A token that is called like a control token is one, whatever its type. */
static void control_tokens_among_the_words(void **state)
{
    (void)state;
    struct hostile h = hostile_begin("vocab-llama");
    const size_t types = place_of(&h, "tokenizer.ggml.token_type") + 16;
    uint64_t count;
    memcpy(&count, h.bytes + types - 8, 8);
    const int32_t normal = 1;
    memcpy(h.bytes + types + 4 * (count - 2), &normal, 4);
    test_write(h.path, h.bytes, h.size);
    px_checkpoint *checkpoint = test_open(h.path);
    char expected[64];
    snprintf(expected, sizeof expected, "{\"id\":%d,\"content\":\"<|end|>\"", (int)count - 2);
    if (!strstr(checkpoint->tokenizer_json.data, expected)) fail_msg("no %s", expected);
    px_checkpoint_close(&checkpoint);
    hostile_end(&h);
}

/* A file of keys only, each given as bytes. */
static phlox_status parse_keys(const void *keys, size_t size, uint64_t count, phlox_error *error)
{
    char *const file = calloc(1, 24 + size);
    assert_non_null(file);
    memcpy(file, "GGUF\3", 5);
    memcpy(file + 16, &count, 8);
    memcpy(file + 24, keys, size);
    px_gguf gguf;
    const phlox_status status = px_gguf_parse((phlox_text){file, 24 + size}, "x", &gguf, error);
    if (status == PHLOX_OK) px_gguf_free(&gguf);
    free(file);
    return status;
}

#define KEY "\1\0\0\0\0\0\0\0"
#define U8 "\0\0\0\0"
#define ARRAY "\x9\0\0\0"
#define ONE "\1\0\0\0\0\0\0\0"

static void keys_twice_and_nested_arrays(void **state)
{
    (void)state;
    phlox_error error;
    static const char two[] = KEY "a" U8 "x" KEY "b" U8 "y";
    MUST(parse_keys(two, sizeof two - 1, 2, &error));
    static const char same[] = KEY "a" U8 "x" KEY "a" U8 "y";
    MUST_FAIL(parse_keys(same, sizeof same - 1, 2, &error), PHLOX_ERROR_FORMAT,
              "the key a is there twice");
    static const char nested[] = KEY "a" ARRAY ARRAY ONE ARRAY ONE U8 ONE "x";
    MUST(parse_keys(nested, sizeof nested - 1, 1, &error));
    static const char deep[] = KEY "a" ARRAY ARRAY ONE ARRAY ONE ARRAY ONE ARRAY ONE ARRAY ONE U8
                               ONE "x";
    MUST_FAIL(parse_keys(deep, sizeof deep - 1, 1, &error), PHLOX_ERROR_FORMAT,
              "nested deeper than 4 levels");
    static const char alignment[] = "\x11\0\0\0\0\0\0\0general.alignment\4\0\0\0\x30\0\0\0";
    MUST_FAIL(parse_keys(alignment, sizeof alignment - 1, 1, &error), PHLOX_ERROR_FORMAT,
              "no power of two");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_tensor_is_what_gguf_makes_of_it),
        cmocka_unit_test(steps_are_of_scales),
        cmocka_unit_test(integers_stay_integers),
        cmocka_unit_test(keys_become_the_descriptor),
        cmocka_unit_test(logits_are_those_of_transformers),
        cmocka_unit_test(opens_files_directories_and_parts),
        cmocka_unit_test(several_models_and_missing_parts),
        cmocka_unit_test(truncated_anywhere),
        cmocka_unit_test(counts_and_lengths),
        cmocka_unit_test(tensors_that_lie),
        cmocka_unit_test(keys_of_wrong_types),
        cmocka_unit_test(vocabularies_that_lie),
        cmocka_unit_test(keys_twice_and_nested_arrays),
        cmocka_unit_test(a_window_without_its_key),
        cmocka_unit_test(control_tokens_among_the_words),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

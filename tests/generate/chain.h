/*
 * A checkpoint whose next token depends on the last one only, as a test says: attention and MLP are
 * zero, the embedding is the identity, and lm_head holds the logits. Its tokenizer is a small one of
 * Phi-3's kind: letters, digits and ! are tokens, as are some words, every other byte is the id 3 + b.
 */
#ifndef PX_TESTS_GENERATE_CHAIN_H
#define PX_TESTS_GENERATE_CHAIN_H

#include "support.h"

#include <phlox/tools.h>

enum {
    CHAIN_VOCAB = 352,
    CHAIN_EOS = 2,
    CHAIN_LETTERS = 260,
    CHAIN_HE = 330,  /* "he" */
    CHAIN_LLO = 332, /* "llo" */
    CHAIN_THE = 335, /* " the" */
    CHAIN_ENDOFTEXT = 340,
    CHAIN_END = 341,
    CHAIN_UNNAMED = 350 /* an id of which the tokenizer has no token */
};

#define CHAIN_ALPHABET "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789!"

typedef struct chain {
    char directory[TEST_PATH];
    float *logits; /* [current, next] */
} chain;

static inline int32_t chain_byte(char byte)
{
    const char *const letter = byte ? strchr(CHAIN_ALPHABET, byte) : NULL;
    return letter ? CHAIN_LETTERS + (int32_t)(letter - CHAIN_ALPHABET) : 3 + (unsigned char)byte;
}

static inline void chain_write_tokenizer(const char *directory)
{
    static const char special[] = "{\"id\":%d,\"content\":\"%s\",\"single_word\":false,"
                                  "\"lstrip\":false,\"rstrip\":false,\"normalized\":false,"
                                  "\"special\":true}%s";
    static const struct {
        int id;
        const char *text;
    } controls[] = {{0, "<unk>"}, {1, "<s>"}, {2, "</s>"}, {CHAIN_ENDOFTEXT, "<|endoftext|>"},
                    {CHAIN_END, "<|end|>"}};
    char path[TEST_PATH];
    FILE *file = fopen(test_path(path, "%s/tokenizer.json", directory), "wb");
    assert_non_null(file);
    fputs("{\"version\":\"1.0\",\"added_tokens\":[", file);
    for (size_t i = 0; i < PX_COUNT(controls); i++)
        fprintf(file, special, controls[i].id, controls[i].text,
                i + 1 < PX_COUNT(controls) ? "," : "],");
    fputs("\"normalizer\":{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"Prepend\","
          "\"prepend\":\"\\u2581\"},{\"type\":\"Replace\",\"pattern\":{\"String\":\" \"},"
          "\"content\":\"\\u2581\"}]},\"pre_tokenizer\":null,\"post_processor\":null,"
          "\"decoder\":{\"type\":\"Sequence\",\"decoders\":[{\"type\":\"Replace\",\"pattern\":"
          "{\"String\":\"\\u2581\"},\"content\":\" \"},{\"type\":\"ByteFallback\"},"
          "{\"type\":\"Fuse\"},{\"type\":\"Strip\",\"content\":\" \",\"start\":1,\"stop\":0}]},"
          "\"model\":{\"type\":\"BPE\",\"dropout\":null,\"unk_token\":\"<unk>\","
          "\"fuse_unk\":true,\"byte_fallback\":true,\"vocab\":{\"<unk>\":0,\"<s>\":1,"
          "\"</s>\":2,", file);
    for (int byte = 0; byte < 256; byte++) fprintf(file, "\"<0x%02X>\":%d,", (unsigned)byte, 3 + byte);
    for (const char *c = CHAIN_ALPHABET; *c; c++) fprintf(file, "\"%c\":%d,", *c, chain_byte(*c));
    fputs("\"\\u2581\":259,\"he\":330,\"ll\":331,\"llo\":332,\"\\u2581t\":333,"
          "\"\\u2581the\":335},\"merges\":[\"h e\",\"l l\",\"ll o\",\"\\u2581 t\","
          "\"\\u2581t he\"]}}", file);
    assert_int_equal(fclose(file), 0);
}

static inline void chain_set(chain *c, int32_t current, int32_t next, float logit)
{
    c->logits[current * CHAIN_VOCAB + next] = logit;
}

/* After each byte of the text comes the next one; after the last, `last` (-1: nothing said). */
static inline void chain_text(chain *c, const char *text, int32_t last)
{
    for (; text[1]; text++) chain_set(c, chain_byte(text[0]), chain_byte(text[1]), 20);
    if (last >= 0) chain_set(c, chain_byte(text[0]), last, 20);
}

static inline chain chain_new(void)
{
    chain c = {.logits = calloc((size_t)CHAIN_VOCAB * CHAIN_VOCAB, sizeof(float))};
    assert_non_null(c.logits);
    test_directory(c.directory);
    return c;
}

static inline void chain_free(chain *c)
{
    test_remove(c->directory);
    free(c->logits);
}

/* Writes the checkpoint. `generation` is generation_config.json. */
static inline void chain_write(const chain *c, int context, const char *generation,
                               bool with_tokenizer)
{
    enum { V = CHAIN_VOCAB, INNER = 2 };
    float *zeros = calloc((size_t)3 * V * V, sizeof *zeros), ones[V];
    float *identity = calloc((size_t)V * V, sizeof *identity);
    float *head = calloc((size_t)V * V, sizeof *head);
    assert_true(zeros && identity && head);
    for (int i = 0; i < V; i++) {
        ones[i] = 1;
        identity[i * V + i] = 1;
        /* The norm makes the 1 of the embedding sqrt(V). */
        for (int next = 0; next < V; next++)
            head[next * V + i] = (float)((double)c->logits[i * V + next] / sqrt(V));
    }
    const test_tensor tensors[] = {
        {"model.embed_tokens.weight", V, V, identity},
        {"model.layers.0.input_layernorm.weight", 0, V, ones},
        {"model.layers.0.self_attn.qkv_proj.weight", 3 * V, V, zeros},
        {"model.layers.0.self_attn.o_proj.weight", V, V, zeros},
        {"model.layers.0.post_attention_layernorm.weight", 0, V, ones},
        {"model.layers.0.mlp.gate_up_proj.weight", 2 * INNER, V, zeros},
        {"model.layers.0.mlp.down_proj.weight", V, INNER, zeros},
        {"model.norm.weight", 0, V, ones},
        {"lm_head.weight", V, V, head},
    };
    test_safetensors_write(c->directory, tensors, PX_COUNT(tensors));
    free(zeros);
    free(identity);
    free(head);
    char config[600];
    snprintf(config, sizeof config,
             "{\"model_type\":\"phi3\",\"vocab_size\":%d,\"hidden_size\":%d,"
             "\"intermediate_size\":%d,\"num_hidden_layers\":1,\"num_attention_heads\":1,"
             "\"rms_norm_eps\":1e-12,\"max_position_embeddings\":%d,\"bos_token_id\":1}",
             V, V, INNER, context);
    test_write_text(c->directory, "config.json", config);
    test_write_text(c->directory, "generation_config.json", generation);
    if (with_tokenizer) chain_write_tokenizer(c->directory);
}

static inline phlox_model *chain_open(const chain *c, int32_t context)
{
    phlox_model_options options;
    phlox_model_options_init(&options);
    options.no_cache = true;
    options.threads = 1;
    options.context_size = context;
    phlox_model *model = NULL;
    phlox_error error;
    MUST(phlox_model_open(c->directory, &options, &model, &error));
    return model;
}

/* A session that holds the bytes of a text. */
static inline phlox_session *chain_session(phlox_model *model, const char *text)
{
    phlox_session *session = NULL;
    phlox_error error;
    MUST(phlox_session_create(model, &session, &error));
    for (; *text; text++) {
        const int32_t id = chain_byte(*text);
        MUST(phlox_session_append(session, &id, 1, NULL, NULL, NULL, &error));
    }
    return session;
}

#endif

/*
 * The tables of a tokenizer. They live in one relocatable block that is both what encoding reads
 * and what a cache stores:
 *
 *   px_table_header | program text | strings | string offsets | token flags | vocabulary hash |
 *   merges | merge hash | added tokens | nodes of the two tries
 *
 * Every section begins at a multiple of 8 bytes; their sizes follow from the counts in the header.
 */
#ifndef PX_TEXT_TABLE_H
#define PX_TEXT_TABLE_H

#include "text/pattern.h"
#include "text/tokenizer.h"

#include <string.h>

#define PX_TABLE_MAGIC "phlxtok1"

enum {
    PX_MOST_STEPS = 8,
    PX_MOST_POST = 8,
    PX_MOST_STEP_TEXT = 64,      /* bytes of what a step but a split inserts or looks for */
    PX_MOST_IDS = 1 << 24,
    PX_MOST_ADDED_BYTES = 1024,  /* of the content of one added token */
    PX_MOST_PROBES = 1024,       /* of one hash lookup */
    PX_NO_ID = -1
};

/* Flags of a token. */
enum { PX_TOKEN_MODEL = 1, PX_TOKEN_ADDED = 2, PX_TOKEN_SPECIAL = 4 };

/* Flags of an added token. */
enum {
    PX_ADDED_LSTRIP = 1,
    PX_ADDED_RSTRIP = 2,
    PX_ADDED_SINGLE_WORD = 4,
    PX_ADDED_NORMALIZED = 8 /* matched in the normalized text */
};

/* Flags of the model. */
enum { PX_MODEL_BYTE_FALLBACK = 1, PX_MODEL_FUSE_UNK = 2, PX_MODEL_IGNORE_MERGES = 4 };

typedef enum px_step_kind {
    PX_STEP_NONE,
    /* normalizers */
    PX_STEP_PREPEND,      /* a: what is put in front of a text that is not empty */
    PX_STEP_REPLACE,      /* a -> b; also a decoder */
    /* pre-tokenizers */
    PX_STEP_SPLIT,        /* a: expression; flags PX_SPLIT_* */
    PX_STEP_PREFIX_SPACE, /* a space in front of a piece that does not begin with one */
    PX_STEP_BYTE_LEVEL,   /* bytes to byte-level characters */
    PX_STEP_METASPACE,    /* a: replacement; flags PX_METASPACE_*; also a decoder */
    /* decoders */
    PX_STEP_BYTE_FALLBACK,
    PX_STEP_FUSE,
    PX_STEP_STRIP,        /* a: the character; flags: most of them at the start */
    PX_STEP_DECODE_BYTES  /* byte-level characters to bytes */
} px_step_kind;

enum { PX_SPLIT_LITERAL = 1, PX_SPLIT_REMOVE_MATCH = 2, PX_SPLIT_REMOVE_REST = 4 };
enum { PX_METASPACE_SPLIT = 1, PX_METASPACE_FIRST = 2, PX_METASPACE_ALWAYS = 4 };

/* A part of the program text. */
typedef struct px_span {
    uint32_t offset, size;
} px_span;

typedef struct px_step {
    uint32_t kind, flags;
    px_span a, b;
} px_step;

typedef struct px_program {
    uint32_t count, unused;
    px_step steps[PX_MOST_STEPS];
} px_program;

typedef struct px_merge {
    uint32_t left, right, result; /* ids; the index in the table is the rank */
} px_merge;

typedef struct px_added {
    uint32_t id, flags;
} px_added;

/* A node of the tries over the contents of added tokens. Children and siblings stand behind it. */
typedef struct px_node {
    uint32_t child, sibling; /* indices, 0: none */
    uint32_t added;          /* index of the added token that ends here + 1, 0: none */
    uint32_t byte;
} px_node;

typedef struct px_table_header {
    char magic[8];
    uint64_t size, checksum; /* of the whole block; of the bytes behind this field */
    uint32_t ids;            /* one past the largest id */
    uint32_t text_bytes, string_bytes;
    uint32_t vocab_slots, merges, merge_slots; /* slots: powers of two */
    uint32_t added, nodes;
    uint32_t raw_root, normalized_root; /* nodes; tokens matched before and after normalization */
    uint32_t model_flags;
    int32_t unk;
    uint32_t post_before, post_after;
    int32_t post[2 * PX_MOST_POST]; /* ids in front, then ids behind (from PX_MOST_POST on) */
    px_program normalizer, splitter, decoder;
} px_table_header;

struct px_tokenizer {
    const px_table_header *header;
    const char *text, *strings;
    const uint32_t *string_offsets; /* [ids + 1] */
    const uint8_t *flags;           /* [ids] */
    const uint32_t *vocab;          /* [vocab_slots] id + 1 of tokens of the model */
    const px_merge *merges;         /* [merges] */
    const uint32_t *merge_index;    /* [merge_slots] rank + 1 */
    const px_added *added;          /* [added] */
    const px_node *nodes;           /* [nodes] */
    void *owned;                    /* the block, when this tokenizer made it */
    int32_t byte_ids[256];          /* of "<0x00>" and so on; PX_NO_ID */
    px_pattern *patterns[PX_MOST_STEPS]; /* of the splitter's steps */
    bool first_bytes[256];          /* that an added token can begin with */
};

/* Byte offsets of the sections. */
typedef struct px_table_layout {
    uint64_t text, strings, string_offsets, flags, vocab, merges, merge_index, added, nodes, size;
} px_table_layout;

/* Layout for the counts in `header`. */
px_table_layout px_table_layout_of(const px_table_header *header);
uint64_t px_table_checksum(const void *block, size_t size);

/* Checks a block and opens it in place; with `own` the tokenizer frees it (also on failure). */
phlox_status px_table_open(void *block, size_t size, bool own, px_tokenizer **out,
                           phlox_error *error);

/* A string literal as text. */
#define PX_TEXT(literal) ((phlox_text){(literal), sizeof(literal) - 1})

static inline uint64_t px_hash_mix(uint64_t value)
{
    value ^= value >> 32;
    value *= UINT64_C(0xd6e8feb86659fd93);
    return value ^ value >> 32;
}

static inline uint64_t px_hash_text(const char *text, size_t size)
{
    uint64_t hash = size * UINT64_C(0x9e3779b97f4a7c15), word;
    for (; size >= 8; text += 8, size -= 8) {
        memcpy(&word, text, 8);
        hash = px_hash_mix(hash ^ word);
    }
    word = 0;
    memcpy(&word, text, size);
    return px_hash_mix(hash ^ word);
}

static inline uint64_t px_hash_pair(uint32_t left, uint32_t right)
{
    return px_hash_mix((uint64_t)left << 32 | right);
}

static inline phlox_text px_token_text(const px_tokenizer *t, uint32_t id)
{
    const uint32_t start = t->string_offsets[id];
    return (phlox_text){t->strings + start, t->string_offsets[id + 1] - start};
}

static inline phlox_text px_span_text(const px_tokenizer *t, px_span span)
{
    return (phlox_text){t->text + span.offset, span.size};
}

/* Id of a token of the model's vocabulary, PX_NO_ID when there is none. */
int32_t px_vocab_find(const px_tokenizer *t, const char *text, size_t size);
/* Rank of a merge, UINT32_MAX when there is none. */
uint32_t px_merge_find(const px_tokenizer *t, uint32_t left, uint32_t right);

/* The byte-level alphabet: byte to character and back (-1: not of the alphabet). */
uint32_t px_byte_to_char(uint8_t byte);
int px_char_to_byte(uint32_t code_point);

#endif

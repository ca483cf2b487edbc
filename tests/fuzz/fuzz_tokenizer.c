/* A tokenizer.json, a NUL, a text: parse, encode the text in every way, decode it, and the same
 * from the packed form. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "text/tokenizer.h"

/* Holds in every build. */
#define REQUIRE(condition)                                                                       \
    do {                                                                                         \
        if (!(condition)) abort();                                                               \
    } while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Ids of `text`, which decode and stream to the same bytes. */
static px_ids check(const px_tokenizer *t, phlox_text text, unsigned flags)
{
    px_ids ids = {0};
    px_buffer all = {0}, pieces = {0};
    px_text_stream *stream = NULL;
    if (px_tokenizer_encode(t, text, flags, 0, &ids, NULL) != PHLOX_OK) return ids;
    REQUIRE(px_tokenizer_decode(t, ids.data, ids.count, true, &all, NULL) == PHLOX_OK);
    REQUIRE(px_text_stream_create(t, true, true, &stream, NULL) == PHLOX_OK);
    for (size_t i = 0; i < ids.count; i++)
        REQUIRE(px_text_stream_add(stream, ids.data[i], &pieces, NULL) == PHLOX_OK);
    REQUIRE(px_text_stream_end(stream, &pieces, NULL) == PHLOX_OK);
    REQUIRE(all.size == pieces.size && (all.size == 0 ||
                                       memcmp(all.data, pieces.data, all.size) == 0));
    px_text_stream_free(stream);
    px_buffer_free(&all);
    px_buffer_free(&pieces);
    return ids;
}

static void check_same(const px_tokenizer *a, const px_tokenizer *b, phlox_text text,
                       unsigned flags)
{
    px_ids from_a = check(a, text, flags), from_b = check(b, text, flags);
    REQUIRE(from_a.count == from_b.count);
    for (size_t i = 0; i < from_a.count; i++) REQUIRE(from_a.data[i] == from_b.data[i]);
    px_ids_free(&from_a);
    px_ids_free(&from_b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const uint8_t *const nul = size > 0 ? memchr(data, '\0', size) : NULL;
    const size_t json_size = nul != NULL ? (size_t)(nul - data) : size;
    const phlox_text json = {(const char *)data, json_size};
    const phlox_text text = {nul != NULL ? (const char *)nul + 1 : "",
                             nul != NULL ? size - json_size - 1 : 0};
    px_tokenizer *t = NULL, *unpacked = NULL;
    px_buffer packed = {0};
    if (px_tokenizer_parse(json, "fuzz", &t, NULL) != PHLOX_OK) return 0;
    REQUIRE(px_tokenizer_pack(t, &packed, NULL) == PHLOX_OK);
    REQUIRE(px_tokenizer_unpack(packed.data, packed.size, &unpacked, NULL) == PHLOX_OK);
    for (unsigned flags = 0; flags < 8; flags++) check_same(t, unpacked, text, flags);
    px_tokenizer_free(t);
    px_tokenizer_free(unpacked);
    px_buffer_free(&packed);
    return 0;
}

/* Parts separated by byte 0x1e: a template, then roles and contents in turn. The conversation goes
 * through the recognised format, or all of them. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "text/chat_format.h"
#include "text/table.h"

/* Holds in every build. */
#define REQUIRE(condition)                                                                       \
    do {                                                                                         \
        if (!(condition)) abort();                                                               \
    } while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { MOST_MESSAGES = 8 };

static const char tokenizer_json[] =
    "{\"model\":{\"type\":\"BPE\",\"byte_fallback\":true,\"unk_token\":\"<unk>\",\"vocab\":{\"<unk>\":0,"
    "\"\xe2\x96\x81\":1,\"<\":2,\"|\":3,\">\":4,\"\\n\":5,\"e\":6,\"n\":7,\"d\":8,\"en\":9,\"end\":10,\"<|\":11,"
    "\"|>\":12},\"merges\":[\"e n\",\"en d\",\"< |\",\"| >\"]},\"normalizer\":{\"type\":\"Prepend\","
    "\"prepend\":\"\xe2\x96\x81\"},\"decoder\":{\"type\":\"Fuse\"},\"added_tokens\":["
    "{\"id\":0,\"content\":\"<unk>\",\"special\":true},"
    "{\"id\":20,\"content\":\"<|end|>\",\"special\":true},"
    "{\"id\":21,\"content\":\"<|user|>\",\"special\":true},"
    "{\"id\":22,\"content\":\"<|assistant|>\",\"special\":true,\"rstrip\":true},"
    "{\"id\":23,\"content\":\"<|system|>\",\"special\":true,\"lstrip\":true},"
    "{\"id\":24,\"content\":\"<|endoftext|>\",\"special\":true}]}";

/* Cuts the next part off. */
static phlox_text next_part(const uint8_t **at, const uint8_t *end)
{
    const uint8_t *const start = *at;
    const uint8_t *const stop = start < end ? memchr(start, 0x1e, (size_t)(end - start)) : NULL;
    *at = stop != NULL ? stop + 1 : end;
    return (phlox_text){(const char *)start, (size_t)((stop != NULL ? stop : end) - start)};
}

static void converse(const px_chat_format *format, const px_tokenizer *t,
                     const phlox_message *messages, size_t count, bool add)
{
    px_ids ids = {0};
    px_buffer out = {0};
    size_t control = 0, most = 1; /* tokens that the format writes */
    if (px_chat_render(format, PX_TEXT("<s>"), messages, count, add, &out, NULL) == PHLOX_OK)
        REQUIRE(out.size >= count);
    if (px_chat_encode(format, t, -1, messages, count, add, &ids, NULL) == PHLOX_OK) {
        most += 3 * count;
        for (size_t i = 0; i < ids.count; i++)
            control += ids.data[i] != 0 && px_tokenizer_is_control(t, ids.data[i]);
        REQUIRE(control <= most);
    }
    px_ids_free(&ids);
    px_buffer_free(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const uint8_t *at = data, *const end = data + size;
    const px_chat_format *found = NULL;
    phlox_message messages[MOST_MESSAGES];
    size_t count = 0;
    px_tokenizer *t = NULL;
    (void)px_chat_format_recognise(next_part(&at, end), &found, NULL);
    while (at < end && count < MOST_MESSAGES) {
        messages[count].role = next_part(&at, end);
        messages[count++].content = next_part(&at, end);
    }
    if (px_tokenizer_parse((phlox_text){tokenizer_json, sizeof tokenizer_json - 1}, "fuzz", &t,
                           NULL) != PHLOX_OK)
        return 0;
    for (size_t i = 0; i < px_chat_format_count; i++)
        if (found == NULL || found == &px_chat_formats[i])
            converse(&px_chat_formats[i], t, messages, count, size % 2 == 0);
    px_tokenizer_free(t);
    return 0;
}

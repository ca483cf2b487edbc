#include "checkpoint/openvino_vocabulary.h"

#include "text/table.h"
#include "text/utf8.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static phlox_status strings_begin(px_ov_strings *strings, size_t count, phlox_error *error)
{
    strings->begins = px_calloc(count + 1, sizeof *strings->begins);
    strings->ends = px_calloc(count + 1, sizeof *strings->ends);
    if (!strings->begins || !strings->ends)
        return px_fail_memory(error, count * sizeof *strings->ends);
    return PHLOX_OK;
}

static phlox_status strings_add(px_ov_strings *strings, const char *data, size_t size,
                                phlox_error *error)
{
    if (strings->bytes.size + size > INT32_MAX) return px_vocabulary_fail_kind("it is too large", error);
    strings->begins[strings->count] = (int32_t)strings->bytes.size;
    PX_TRY(px_buffer_add(&strings->bytes, data, size, error));
    strings->ends[strings->count++] = (int32_t)strings->bytes.size;
    return PHLOX_OK;
}

static void strings_free(px_ov_strings *strings)
{
    px_buffer_free(&strings->bytes);
    free(strings->begins);
    free(strings->ends);
}

/* A token's text as bytes; *size is its length in and out. Never longer than it was. */
static phlox_status plain_bytes(const px_ov_vocabulary *t, const char *text, size_t *size, char *out,
                                phlox_error *error)
{
    if (!t->shared.byte_level) {
        memcpy(out, text, *size);
        return PHLOX_OK;
    }
    size_t used = 0;
    for (size_t at = 0; at < *size;) {
        const int byte = px_char_to_byte(px_utf8_next(text, &at));
        if (byte < 0) return px_vocabulary_fail_kind("a token has a letter that stands for no byte", error);
        out[used++] = (char)byte;
    }
    *size = used;
    return PHLOX_OK;
}

static phlox_status add_plain(const px_ov_vocabulary *t, px_ov_strings *strings, const char *text,
                              size_t size, phlox_error *error)
{
    char *const bytes = malloc(size + 1);
    if (!bytes) return px_fail_memory(error, size);
    phlox_status status = plain_bytes(t, text, &size, bytes, error);
    if (status == PHLOX_OK) status = strings_add(strings, bytes, size, error);
    free(bytes);
    return status;
}

/* The vocabulary by id: that of the model, and added tokens as they are written. */
static phlox_status read_vocab(px_ov_vocabulary *t, phlox_error *error)
{
    const px_vocabulary *const shared = &t->shared;
    PX_TRY(strings_begin(&t->vocab, shared->token_count, error));
    size_t next = 0;
    for (size_t id = 0; id < shared->token_count; id++) {
        while (next < shared->added_count && (size_t)shared->added[next].id < id) next++;
        const bool is_added = next < shared->added_count && (size_t)shared->added[next].id == id;
        const char *const token = is_added            ? shared->added[next].content
                                  : shared->tokens[id] ? shared->tokens[id]
                                                       : "";
        if (is_added) PX_TRY(strings_add(&t->vocab, token, strlen(token), error));
        else PX_TRY(add_plain(t, &t->vocab, token, strlen(token), error));
    }
    return PHLOX_OK;
}

static phlox_status read_merges(px_ov_vocabulary *t, phlox_error *error)
{
    const px_vocabulary *const shared = &t->shared;
    PX_TRY(strings_begin(&t->left, shared->merge_count, error));
    PX_TRY(strings_begin(&t->right, shared->merge_count, error));
    for (size_t i = 0; i < shared->merge_count; i++) {
        px_merged merge;
        PX_TRY(px_vocabulary_merge(shared, i, &merge, error));
        PX_TRY(add_plain(t, &t->left, merge.left.data, merge.left.size, error));
        PX_TRY(add_plain(t, &t->right, merge.right.data, merge.right.size, error));
    }
    PX_TRY(strings_begin(&t->added_strings, shared->added_count, error));
    for (size_t i = 0; i < shared->added_count; i++) {
        const char *const content = shared->added[i].content;
        PX_TRY(strings_add(&t->added_strings, content, strlen(content), error));
    }
    return PHLOX_OK;
}

/* ---- the added tokens as a pattern --------------------------------------------------------- */

/* Longer tokens first where one begins like another: by content, the greatest first. */
static int compare_contents(const void *a, const void *b)
{
    const px_added_token *const x = *(const px_added_token *const *)a;
    const px_added_token *const y = *(const px_added_token *const *)b;
    return -strcmp(x->content, y->content);
}

phlox_status px_ov_added_pattern(const px_ov_vocabulary *t, px_buffer *out, phlox_error *error)
{
    const px_added_token **const order = px_calloc(t->shared.added_count + 1, sizeof *order);
    if (!order) return px_fail_memory(error, t->shared.added_count * sizeof *order);
    for (size_t i = 0; i < t->shared.added_count; i++) order[i] = &t->shared.added[i];
    if (t->shared.added_count) qsort(order, t->shared.added_count, sizeof *order, compare_contents);
    phlox_status status = PHLOX_OK;
    for (int kind = 0; kind < 4 && status == PHLOX_OK; kind++) {
        bool any = false;
        for (size_t i = 0; i < t->shared.added_count && status == PHLOX_OK; i++) {
            if (order[i]->lstrip != (kind & 2) / 2 || order[i]->rstrip != (kind & 1)) continue;
            char before[32];
            snprintf(before, sizeof before, "%s%s", any || !out->size ? "" : "|",
                     any ? "|" : kind & 2 ? "(?:\\s*)(" : "(");
            status = px_buffer_add(out, before, strlen(before), error);
            for (const char *c = order[i]->content; *c && status == PHLOX_OK; c++) {
                if (*c > ' ' && *c < 127 && !isalnum((unsigned char)*c)) status = px_buffer_add(out, "\\", 1, error);
                if (status == PHLOX_OK) status = px_buffer_add(out, c, 1, error);
            }
            any = true;
        }
        const char *const after = kind & 1 ? ")(?:\\s*)" : ")";
        if (any && status == PHLOX_OK) status = px_buffer_add(out, after, strlen(after), error);
    }
    free(order);
    return status == PHLOX_OK ? px_buffer_add(out, "", 1, error) : status;
}

/* ---- all of it ----------------------------------------------------------------------------- */

phlox_status px_ov_vocabulary_read(const px_checkpoint *checkpoint, px_ov_vocabulary *out,
                                   phlox_error *error)
{
    *out = (px_ov_vocabulary){.vocab = {.count = 0}};
    PX_TRY(px_vocabulary_read(checkpoint, &out->shared, error));
    PX_TRY(read_vocab(out, error));
    return read_merges(out, error);
}

void px_ov_vocabulary_free(px_ov_vocabulary *vocabulary)
{
    strings_free(&vocabulary->vocab);
    strings_free(&vocabulary->left);
    strings_free(&vocabulary->right);
    strings_free(&vocabulary->added_strings);
    px_vocabulary_free(&vocabulary->shared);
}

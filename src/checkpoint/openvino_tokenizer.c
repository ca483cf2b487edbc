#include "checkpoint/openvino_tokenizer.h"

#include "checkpoint/openvino_vocabulary.h"
#include "checkpoint/openvino_writer.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ANY PX_IR_DYNAMIC

enum { MOST_SPECIAL = 8 };

struct tokenizer {
    const px_checkpoint *checkpoint;
    const px_vocabulary *vocabulary;
    const px_ov_vocabulary *strings; /* of it */
    px_ir *ir; /* of the graph that is being written */
};

static const px_ir_value string_begins = {.type = PX_IR_I32, .shape = {1, {ANY}}};
static const px_ir_value string_bytes = {.type = PX_IR_U8, .shape = {1, {ANY}}};
static const px_ir_value string_flags = {.type = PX_IR_BOOLEAN, .shape = {1, {ANY}}};

/* ---- pieces of graphs ---------------------------------------------------------------------- */

static px_ir_value one(px_ir *ir, const char *type, const char *opset, const char *data,
                       px_ir_value like, int count, const px_ir_value *inputs)
{
    const px_ir_op op = {.type = type, .opset = opset, .data = data};
    return px_ir_add(ir, &op, like.type, like.shape, count, inputs);
}

static px_ir_value number(px_ir *ir, int32_t value)
{
    return px_ir_const(ir, NULL, PX_IR_I32, px_ir_scalar, &value);
}

static px_ir_value long_number(px_ir *ir, int64_t value)
{
    return px_ir_const(ir, NULL, PX_IR_I64, px_ir_scalar, &value);
}

static px_ir_value text(px_ir *ir, const char *bytes)
{
    return px_ir_const(ir, NULL, PX_IR_U8, PX_IR_SHAPE((int64_t)strlen(bytes)), bytes);
}

static void add_strings(px_ir *ir, const px_ov_strings *strings, px_ir_value out[3])
{
    out[0] = px_ir_const(ir, NULL, PX_IR_I32, PX_IR_SHAPE(strings->count), strings->begins);
    out[1] = px_ir_const(ir, NULL, PX_IR_I32, PX_IR_SHAPE(strings->count), strings->ends);
    out[2] = px_ir_const(ir, NULL, PX_IR_U8, PX_IR_SHAPE((int64_t)strings->bytes.size),
                         strings->bytes.data ? strings->bytes.data : "");
}

/* Replaces a pattern in strings (begins, ends, bytes, and flags when count is 4). */
static void replace(px_ir *ir, int count, px_ir_value *strings, const char *pattern, const char *by)
{
    const px_ir_op op = {.type = "RegexNormalization", .opset = "extension",
                         .data = "global_replace=\"true\""};
    px_ir_value inputs[6];
    memcpy(inputs, strings, (size_t)count * sizeof *strings);
    inputs[count] = text(ir, pattern);
    inputs[count + 1] = text(ir, by);
    px_ir_add_many(ir, &op, count, strings, count + 2, inputs);
}

/* ---- text to ids --------------------------------------------------------------------------- */

/* Strings of a batch as rows of one string each: row begins, row ends, begins, ends, bytes. */
static void unpack(px_ir *ir, px_ir_value rows[5])
{
    const px_ir_op input = {.type = "Parameter", .opset = "opset1", .outputs = "string_input",
                            .data = "shape=\"?\" element_type=\"string\""};
    const px_ir_value texts = px_ir_add(ir, &input, PX_IR_STRING, PX_IR_SHAPE(ANY), 0, NULL);
    const px_ir_op op = {.type = "StringTensorUnpack", .opset = "opset15"};
    px_ir_value strings[3] = {string_begins, string_begins, string_bytes};
    px_ir_add_many(ir, &op, 3, strings, 1, &texts);
    const px_ir_value count_like = {.type = PX_IR_I64, .shape = {0, {0}}};
    const px_ir_value shape_like = {.type = PX_IR_I64, .shape = {1, {1}}};
    const px_ir_value zero = long_number(ir, 0), step = long_number(ir, 1);
    const px_ir_value shape =
        one(ir, "ShapeOf", "opset3", "output_type=\"i64\"", shape_like, 1, strings);
    const px_ir_value count = one(ir, "Gather", "opset8", "batch_dims=\"0\"", count_like,
                                  PX_IR_VALUES(shape, zero, zero));
    const px_ir_value next = one(ir, "Add", "opset1", "auto_broadcast=\"numpy\"", count_like,
                                 PX_IR_VALUES(count, step));
    const char *const i32 = "output_type=\"i32\"";
    rows[0] = one(ir, "Range", "opset4", i32, string_begins, PX_IR_VALUES(zero, count, step));
    rows[1] = one(ir, "Range", "opset4", i32, string_begins, PX_IR_VALUES(step, next, step));
    memcpy(rows + 2, strings, sizeof strings);
}

/* A text that begins with neither a blank nor an added token gets a U+2581 in front. */
static phlox_status prepend_first(struct tokenizer *t, px_ir_value rows[5], const char *added,
                                  phlox_error *error)
{
    static const char format[] = "^(?!%s)([^ \xe2\x96\x81])";
    const size_t size = sizeof format + strlen(added);
    char *const pattern = malloc(size);
    if (!pattern) return px_fail_memory(error, size);
    snprintf(pattern, size, format, t->vocabulary->added_count ? added : "\\A\\z");
    replace(t->ir, 3, rows + 2, pattern, "\xe2\x96\x81$0");
    free(pattern);
    return PHLOX_OK;
}

/* Cuts out the added tokens: rows get a sixth part, which says what is one. */
static phlox_status split_added(struct tokenizer *t, px_ir_value rows[6], phlox_error *error)
{
    px_buffer pattern = {0};
    phlox_status status = px_ov_added_pattern(t->strings, &pattern, error);
    if (status == PHLOX_OK && t->vocabulary->prepend == PX_PREPEND_FIRST_BUT_SPACED)
        status = prepend_first(t, rows, pattern.data, error);
    if (status == PHLOX_OK) {
        const px_ir_op op = {.type = "SpecialTokensSplit", .opset = "extension"};
        px_ir_value inputs[6];
        memcpy(inputs, rows, 5 * sizeof *rows);
        inputs[5] = text(t->ir, pattern.data);
        rows[5] = string_flags;
        px_ir_add_many(t->ir, &op, 6, rows, 6, inputs);
    }
    px_buffer_free(&pattern);
    return status;
}

static void split_words(struct tokenizer *t, px_ir_value rows[6])
{
    if (!t->vocabulary->byte_level) {
        if (t->vocabulary->prepend == PX_PREPEND_ALL) replace(t->ir, 4, rows + 2, "(?:^)([\\s\\S])", "\xe2\x96\x81$1");
        if (t->vocabulary->prepend == PX_PREPEND_ALL_BUT_SPACED)
            replace(t->ir, 4, rows + 2, "(?:^)([^ \xe2\x96\x81])", "\xe2\x96\x81$1");
        replace(t->ir, 4, rows + 2, " ", "\xe2\x96\x81");
        return;
    }
    char data[96];
    snprintf(data, sizeof data, "behaviour=\"%s\" invert=\"%s\" max_splits=\"-1\"",
             t->vocabulary->pattern_isolates ? "isolate" : "remove", t->vocabulary->pattern_inverts ? "true" : "false");
    const px_ir_op op = {.type = "RegexSplit", .opset = "extension", .data = data};
    px_ir_value inputs[7];
    memcpy(inputs, rows, 6 * sizeof *rows);
    inputs[6] = text(t->ir, t->vocabulary->pattern);
    px_ir_add_many(t->ir, &op, 6, rows, 7, inputs);
}

/* Ids of each row: begins, ends, ids. */
static void merge(struct tokenizer *t, const px_ir_value rows[6], px_ir_value ids[3])
{
    px_ir *const ir = t->ir;
    const char *const unknown = json_string_value(json_object_get(t->vocabulary->model, "unk_token"));
    char data[256];
    snprintf(data, sizeof data,
             "unk_token=\"%s\" fuse_unk=\"%s\" suffix_indicator=\"\" end_suffix=\"\" "
             "byte_fallback=\"%s\" cache_capacity=\"20000\"",
             unknown && strcmp(unknown, "<unk>") == 0 ? "&lt;unk&gt;" : "",
             json_is_true(json_object_get(t->vocabulary->model, "fuse_unk")) ? "true" : "false",
             json_is_true(json_object_get(t->vocabulary->model, "byte_fallback")) ? "true" : "false");
    const px_ir_op op = {.type = "BPETokenizer", .opset = "extension", .data = data};
    px_ir_value inputs[18];
    memcpy(inputs, rows, 5 * sizeof *rows);
    add_strings(ir, &t->strings->vocab, inputs + 5);
    add_strings(ir, &t->strings->left, inputs + 8);
    add_strings(ir, &t->strings->right, inputs + 11);
    add_strings(ir, &t->strings->added_strings, inputs + 14);
    int32_t *const list = px_calloc(t->vocabulary->added_count + 1, sizeof *list);
    if (!list) px_ir_fail_memory(ir, t->vocabulary->added_count * sizeof *list);
    for (size_t i = 0; i < t->vocabulary->added_count && list; i++) list[i] = t->vocabulary->added[i].id;
    inputs[17] = px_ir_const(ir, NULL, PX_IR_I32, PX_IR_SHAPE((int64_t)t->vocabulary->added_count), list);
    free(list);
    for (int i = 0; i < 3; i++) ids[i] = string_begins;
    px_ir_add_many(ir, &op, 3, ids, 18, inputs);
}

/* Cuts a row to a length that the runtime can set, which is what its state is for. */
static void truncate_rows(px_ir *ir, px_ir_value ids[3])
{
    static const int32_t longest = INT32_MAX - 64; /* one that leaves room for special tokens */
    const uint8_t off = 0;
    const px_ir_value no = px_ir_const(ir, NULL, PX_IR_BOOLEAN, px_ir_scalar, &off);
    const px_ir_op read = {
        .type = "ReadValue", .opset = "opset6",
        .data = "variable_id=\"truncation\" variable_type=\"dynamic\" variable_shape=\"...\""};
    const px_ir_op assign = {.type = "Assign", .opset = "opset6", .data = "variable_id=\"truncation\""};
    const px_ir_value state = px_ir_add(ir, &read, PX_IR_BOOLEAN, px_ir_scalar, 1, &no);
    px_ir_add(ir, &assign, PX_IR_BOOLEAN, px_ir_scalar, 1, &state);
    const px_ir_value most = number(ir, longest);
    const px_ir_value like = {.type = PX_IR_I32, .shape = {0, {0}}};
    const px_ir_value limit = one(ir, "Select", "opset1", "auto_broadcast=\"numpy\"", like,
                                  PX_IR_VALUES(state, most, number(ir, longest)));
    const px_ir_op op = {.type = "Truncate", .opset = "extension", .data = "m_num_inputs=\"1\""};
    const px_ir_value side = text(ir, "right"), which = text(ir, "longest_first");
    px_ir_add_many(ir, &op, 3, ids, PX_IR_VALUES(ids[0], ids[1], ids[2], limit, side, which));
}

/* Puts the special tokens of the post-processor's template around each row. */
static phlox_status add_special(struct tokenizer *t, px_ir_value ids[3], phlox_error *error)
{
    px_ir *const ir = t->ir;
    const json_t *const processor = json_object_get(t->vocabulary->json, "post_processor");
    const json_t *const parts = json_object_get(processor, "single");
    const size_t count = px_json_is_type(processor, "TemplateProcessing") ? json_array_size(parts) : 0;
    if (count > MOST_SPECIAL) return px_vocabulary_fail_kind("its post_processor has too many parts", error);
    px_ir_value inputs[3 * (MOST_SPECIAL + 1) + 1];
    int32_t kinds[MOST_SPECIAL + 1] = {0};
    int used = 0, segments = 0;
    for (size_t i = 0; i < count; i++) {
        const json_t *const special = json_object_get(json_array_get(parts, i), "SpecialToken");
        if (!special) {
            memcpy(inputs + used, ids, 3 * sizeof *ids);
        } else {
            const char *const name = json_string_value(json_object_get(special, "id"));
            const json_t *const known = json_object_get(processor, "special_tokens");
            const json_t *const ids_of = json_object_get(name ? json_object_get(known, name) : NULL, "ids");
            const json_t *const first = json_array_get(ids_of, 0);
            const json_int_t id_there = json_is_integer(first) ? json_integer_value(first) : -1;
            const int32_t id = id_there >= 0 && id_there < PX_MOST_TOKENS ? (int32_t)id_there : -1;
            if (id < 0) return px_vocabulary_fail_kind("its post_processor names a token without an id", error);
            inputs[used] = number(ir, 0);
            inputs[used + 1] = number(ir, 1);
            inputs[used + 2] = px_ir_const(ir, NULL, PX_IR_I32, PX_IR_SHAPE(1), &id);
        }
        used += 3;
        segments++;
    }
    if (!segments) {
        memcpy(inputs, ids, 3 * sizeof *ids);
        used = 3;
        segments = 1;
    }
    inputs[used++] = px_ir_const(ir, NULL, PX_IR_I32, PX_IR_SHAPE(segments), kinds);
    const px_ir_op op = {.type = "CombineSegments", .opset = "extension"};
    px_ir_value out[6];
    for (int i = 0; i < 6; i++) out[i] = string_begins;
    px_ir_add_many(ir, &op, 6, out, used, inputs);
    memcpy(ids, out, 3 * sizeof *ids);
    return PHLOX_OK;
}

static void add_result(px_ir *ir, px_ir_value x, const char *name)
{
    const px_ir_op convert = {.type = "Convert", .opset = "opset1", .outputs = name,
                              .data = "destination_type=\"i64\""};
    const px_ir_value wide = px_ir_add(ir, &convert, PX_IR_I64, x.shape, 1, &x);
    const px_ir_op result = {.type = "Result", .opset = "opset1"};
    px_ir_add_many(ir, &result, 0, NULL, 1, &wide);
}

/* Rows of one length, and the mask of what is not padding. */
static void pad_rows(struct tokenizer *t, const px_ir_value ids[3])
{
    px_ir *const ir = t->ir;
    const char *const side = json_string_value(json_object_get(t->vocabulary->config, "padding_side"));
    const px_ir_value scalar = {.type = PX_IR_I32, .shape = {0, {0}}};
    const px_ir_value length = one(ir, "Subtract", "opset1", "auto_broadcast=\"numpy\"", string_begins,
                                   PX_IR_VALUES(ids[1], ids[0]));
    const px_ir_value most = one(ir, "ReduceMax", "opset1", "keep_dims=\"false\"", scalar,
                                 PX_IR_VALUES(length, number(ir, 0)));
    char data[64];
    snprintf(data, sizeof data, "pad_right=\"%s\" m_pad_max_length=\"false\"",
             side && strcmp(side, "right") == 0 ? "true" : "false");
    const px_ir_op op = {.type = "RaggedToDense", .opset = "extension", .data = data};
    px_ir_value out[2] = {{.type = PX_IR_I32, .shape = {2, {ANY, ANY}}},
                          {.type = PX_IR_BOOLEAN, .shape = {2, {ANY, ANY}}}};
    px_ir_add_many(ir, &op, 2, out,
                   PX_IR_VALUES(ids[0], ids[1], ids[2], most, number(ir, PX_MAX(t->vocabulary->pad, 0))));
    add_result(ir, out[0], "input_ids");
    add_result(ir, out[1], "attention_mask");
}

static phlox_status add_tokenizer(struct tokenizer *t, phlox_error *error)
{
    px_ir_value rows[6], ids[3];
    unpack(t->ir, rows);
    PX_TRY(split_added(t, rows, error));
    split_words(t, rows);
    merge(t, rows, ids);
    truncate_rows(t->ir, ids);
    PX_TRY(add_special(t, ids, error));
    pad_rows(t, ids);
    return PHLOX_OK;
}

/* ---- ids to text --------------------------------------------------------------------------- */

static phlox_status add_detokenizer(struct tokenizer *t, phlox_error *error)
{
    px_ir *const ir = t->ir;
    const px_ir_op input = {.type = "Parameter", .opset = "opset1", .outputs = "token_ids",
                            .data = "shape=\"?,?\" element_type=\"i64\""};
    const px_ir_value wide = px_ir_add(ir, &input, PX_IR_I64, PX_IR_SHAPE(ANY, ANY), 0, NULL);
    const px_ir_value narrow = {.type = PX_IR_I32, .shape = {2, {ANY, ANY}}};
    px_ir_value inputs[5];
    inputs[0] = one(ir, "Convert", "opset1", "destination_type=\"i32\"", narrow, 1, &wide);
    add_strings(ir, &t->strings->vocab, inputs + 1);
    int32_t *const skipped = px_calloc(t->vocabulary->added_count + 1, sizeof *skipped);
    if (!skipped) return px_fail_memory(error, t->vocabulary->added_count * sizeof *skipped);
    int64_t count = 0;
    for (size_t i = 0; i < t->vocabulary->added_count; i++)
        if (t->vocabulary->added[i].special) skipped[count++] = t->vocabulary->added[i].id;
    inputs[4] = px_ir_const(ir, NULL, PX_IR_I32, PX_IR_SHAPE(count), skipped);
    free(skipped);
    const px_ir_op decode = {.type = "VocabDecoder", .opset = "extension", .data = "skip_tokens=\"\""};
    px_ir_value rows[5] = {string_begins, string_begins, string_begins, string_begins, string_bytes};
    px_ir_add_many(ir, &decode, 5, rows, 5, inputs);
    if (!t->vocabulary->byte_level) {
        const px_ir_op fallback = {.type = "ByteFallback", .opset = "extension"};
        replace(ir, 3, rows + 2, "\xe2\x96\x81", " ");
        px_ir_value bytes[3] = {string_begins, string_begins, string_bytes};
        px_ir_add_many(ir, &fallback, 3, bytes, 3, rows + 2);
        memcpy(rows + 2, bytes, sizeof bytes);
    }
    const px_ir_op fuse = {.type = "FuzeRagged", .opset = "extension"};
    px_ir_value strings[3] = {string_begins, string_begins, rows[4]};
    px_ir_add_many(ir, &fuse, 2, strings, 4, rows);
    if (!t->vocabulary->byte_level) replace(ir, 3, strings, "^ ", "");
    const px_ir_op validate = {.type = "UTF8Validate", .opset = "extension",
                               .data = "replace_mode=\"true\""};
    px_ir_value valid[3] = {string_begins, string_begins, string_bytes};
    px_ir_add_many(ir, &validate, 3, valid, 3, strings);
    const px_ir_op pack = {.type = "StringTensorPack", .opset = "opset15", .outputs = "string_output"};
    const px_ir_value texts = px_ir_add(ir, &pack, PX_IR_STRING, PX_IR_SHAPE(ANY), 3, valid);
    const px_ir_op result = {.type = "Result", .opset = "opset1"};
    px_ir_add_many(ir, &result, 0, NULL, 1, &texts);
    return PHLOX_OK;
}

/* ---- files --------------------------------------------------------------------------------- */

/* value="..." with what XML wants escaped. */
static phlox_status add_escaped(px_buffer *out, const char *value, size_t size, phlox_error *error)
{
    for (size_t i = 0; i < size; i++) {
        char code[16];
        const unsigned char c = (unsigned char)value[i];
        if (c < 32 || strchr("<>&\"'", c)) snprintf(code, sizeof code, "&#%d;", c);
        else snprintf(code, sizeof code, "%c", c);
        if (c >= 32 || c == '\t' || c == '\n' || c == '\r')
            PX_TRY(px_buffer_add(out, code, strlen(code), error));
    }
    return PHLOX_OK;
}

static phlox_status add_info(px_buffer *out, const char *name, const char *value, size_t size,
                             phlox_error *error)
{
    char tag[96];
    snprintf(tag, sizeof tag, "\t\t<%s value=\"", name);
    PX_TRY(px_buffer_add(out, tag, strlen(tag), error));
    PX_TRY(add_escaped(out, value, size, error));
    return px_buffer_add(out, "\" />\n", 5, error);
}

/* What GenAI reads from the graph's file: the ids that frame and end a text, the chat template. */
static phlox_status describe(const struct tokenizer *t, px_buffer *out, phlox_error *error)
{
    static const struct {
        const char *name, *value;
    } constant[] = {
        {"add_attention_mask", "True"},     {"add_special_tokens", "True"},
        {"skip_special_tokens", "True"},    {"detokenizer_input_type", "i64"},
        {"tokenizer_output_type", "i64"},   {"utf8_replace_mode", "replace"},
        {"number_of_inputs", "1"},          {"use_max_padding", "False"},
        {"use_sentencepiece_backend", "False"},
    };
    for (size_t i = 0; i < PX_COUNT(constant); i++)
        PX_TRY(add_info(out, constant[i].name, constant[i].value, strlen(constant[i].value), error));
    const px_desc *const desc = &t->checkpoint->desc;
    int32_t bos = px_vocabulary_id(t->vocabulary, t->checkpoint->bos_token);
    if (bos < 0) bos = desc->bos_id;
    int32_t eos_id = px_vocabulary_named(t->vocabulary, "eos_token");
    if (eos_id < 0 && desc->eos_count) eos_id = desc->eos_ids[0];
    const int32_t numbers[] = {bos, eos_id, t->vocabulary->pad};
    static const char *const names[] = {"bos_token_id", "eos_token_id", "pad_token_id"};
    for (size_t i = 0; i < PX_COUNT(names); i++) {
        char value[16];
        snprintf(value, sizeof value, "%" PRId32, numbers[i]);
        if (numbers[i] >= 0) PX_TRY(add_info(out, names[i], value, strlen(value), error));
    }
    const phlox_text template = t->checkpoint->chat_template;
    if (template.size) PX_TRY(add_info(out, "chat_template", template.data, template.size, error));
    return px_buffer_add(out, "", 1, error);
}

static phlox_status write_graph(struct tokenizer *t, const char *directory, const char *name,
                                phlox_status (*add)(struct tokenizer *t, phlox_error *error),
                                const char *rt_info, phlox_error *error)
{
    char path[4096];
    px_out_file bin = {.descriptor = -1};
    px_buffer xml = {0};
    px_ir ir;
    snprintf(path, sizeof path, "%s/%s.bin", directory, name);
    PX_TRY(px_out_open(&bin, path, 0, error));
    px_ir_begin(&ir, &bin, error);
    t->ir = &ir;
    phlox_status status = add(t, error);
    const phlox_status finished = px_ir_finish(&ir, rt_info, &xml);
    if (status == PHLOX_OK) status = finished;
    if (status == PHLOX_OK) status = px_out_commit(&bin, error);
    snprintf(path, sizeof path, "%s/%s.xml", directory, name);
    if (status == PHLOX_OK) status = px_write_file(path, xml.data, xml.size, error);
    px_out_abandon(&bin);
    px_buffer_free(&xml);
    return status;
}

static phlox_status write_graphs(struct tokenizer *t, const char *directory, phlox_error *error)
{
    px_buffer info = {0};
    phlox_status status = describe(t, &info, error);
    if (status == PHLOX_OK)
        status = write_graph(t, directory, "openvino_tokenizer", add_tokenizer, info.data, error);
    if (status == PHLOX_OK)
        status = write_graph(t, directory, "openvino_detokenizer", add_detokenizer, info.data, error);
    px_buffer_free(&info);
    return status;
}

phlox_status px_openvino_write_tokenizer(const px_checkpoint *checkpoint, const char *directory,
                                         phlox_error *error)
{
    px_ov_vocabulary vocabulary;
    phlox_status status = px_ov_vocabulary_read(checkpoint, &vocabulary, error);
    struct tokenizer t = {.checkpoint = checkpoint, .vocabulary = &vocabulary.shared,
                          .strings = &vocabulary};
    if (status == PHLOX_OK) status = write_graphs(&t, directory, error);
    px_ov_vocabulary_free(&vocabulary);
    return status;
}

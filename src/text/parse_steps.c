#include "text/draft.h"

/* The split that the ByteLevel pre-tokenizer does of its own unless told not to. */
#define GPT2_SPLIT                                                                               \
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"

typedef phlox_status step_reader(px_draft *draft, const json_t *component, phlox_text type,
                                 px_program *program, phlox_error *error);

static phlox_status unsupported(const px_draft *draft, const char *what, phlox_text type,
                                phlox_error *error)
{
    return px_fail(error, PHLOX_ERROR_UNSUPPORTED,
                   "%s: a %s of type \"%.*s\" in this place is not something phlox does",
                   draft->name, what, (int)PX_MIN(type.size, (size_t)40), type.data);
}

static phlox_status intern(px_draft *draft, phlox_text text, px_span *out, phlox_error *error)
{
    if (draft->text.size + text.size > 1 << 20)
        return px_fail(error, PHLOX_ERROR_UNSUPPORTED,
                       "%s: normalizers and pre-tokenizers with more than a mebibyte of text",
                       draft->name);
    *out = (px_span){(uint32_t)draft->text.size, (uint32_t)text.size};
    return px_buffer_add(&draft->text, text.data, text.size, error);
}

static phlox_status add_step(const px_draft *draft, px_program *program, px_step step,
                             phlox_error *error)
{
    if (step.kind != PX_STEP_SPLIT && PX_MAX(step.a.size, step.b.size) > PX_MOST_STEP_TEXT)
        return px_fail(error, PHLOX_ERROR_UNSUPPORTED,
                       "%s: a component that inserts or replaces more than %d bytes", draft->name,
                       PX_MOST_STEP_TEXT);
    if (program->count == PX_MOST_STEPS)
        return px_fail(error, PHLOX_ERROR_UNSUPPORTED,
                       "%s: a sequence of more than %d components", draft->name, PX_MOST_STEPS);
    program->steps[program->count++] = step;
    return PHLOX_OK;
}

/* Walks a component and the sequences in it. `list` is the sequence's key for its parts. */
static phlox_status walk(px_draft *draft, const json_t *component, const char *list,
                         step_reader *read, px_program *program, phlox_error *error)
{
    if (component == NULL || json_is_null(component)) return PHLOX_OK;
    const phlox_text type = px_draft_type(component);
    if (!px_text_is(type, "Sequence")) return read(draft, component, type, program, error);
    const json_t *const parts = json_object_get(component, list);
    if (!json_is_array(parts))
        return px_fail(error, PHLOX_ERROR_FORMAT, "%s: a sequence without \"%s\"", draft->name,
                       list);
    size_t index;
    json_t *part;
    json_array_foreach(parts, index, part) {
        if (px_text_is(px_draft_type(part), "Sequence"))
            return unsupported(draft, "sequence in a sequence", px_draft_type(part), error);
        PX_TRY(walk(draft, part, list, read, program, error));
    }
    return PHLOX_OK;
}

/* {"String": s} or {"Regex": s}. */
static phlox_status read_pattern(px_draft *draft, const json_t *component, bool *literal,
                                 phlox_text *out, phlox_error *error)
{
    const json_t *const pattern = json_object_get(component, "pattern");
    *literal = json_object_get(pattern, "String") != NULL;
    PX_TRY(px_draft_string(draft, pattern, *literal ? "String" : "Regex", out, error));
    if (out->size == 0)
        return px_fail(error, PHLOX_ERROR_FORMAT, "%s: an empty pattern", draft->name);
    return PHLOX_OK;
}

static phlox_status read_replace(px_draft *draft, const json_t *component, px_program *program,
                                 phlox_error *error)
{
    px_step step = {.kind = PX_STEP_REPLACE};
    phlox_text from, to;
    bool literal;
    PX_TRY(read_pattern(draft, component, &literal, &from, error));
    if (!literal)
        return unsupported(draft, "Replace with an expression", px_draft_type(component), error);
    PX_TRY(px_draft_string(draft, component, "content", &to, error));
    PX_TRY(intern(draft, from, &step.a, error));
    PX_TRY(intern(draft, to, &step.b, error));
    return add_step(draft, program, step, error);
}

static phlox_status read_normalizer(px_draft *draft, const json_t *component, phlox_text type,
                                    px_program *program, phlox_error *error)
{
    if (px_text_is(type, "Replace")) return read_replace(draft, component, program, error);
    if (!px_text_is(type, "Prepend")) return unsupported(draft, "normalizer", type, error);
    px_step step = {.kind = PX_STEP_PREPEND};
    phlox_text text;
    PX_TRY(px_draft_string(draft, component, "prepend", &text, error));
    PX_TRY(intern(draft, text, &step.a, error));
    return add_step(draft, program, step, error);
}

static phlox_status read_split(px_draft *draft, const json_t *component, px_program *program,
                               phlox_error *error)
{
    px_step step = {.kind = PX_STEP_SPLIT};
    phlox_text pattern, behavior;
    bool literal, invert;
    PX_TRY(read_pattern(draft, component, &literal, &pattern, error));
    PX_TRY(px_draft_string(draft, component, "behavior", &behavior, error));
    PX_TRY(px_json_bool_or(component, "invert", draft->name, false, &invert, error));
    if (literal) step.flags |= PX_SPLIT_LITERAL;
    if (px_text_is(behavior, "Removed"))
        step.flags |= invert ? PX_SPLIT_REMOVE_REST : PX_SPLIT_REMOVE_MATCH;
    else if (!px_text_is(behavior, "Isolated"))
        return unsupported(draft, "Split with a behavior", behavior, error);
    PX_TRY(intern(draft, pattern, &step.a, error));
    return add_step(draft, program, step, error);
}

static phlox_status read_byte_level(px_draft *draft, const json_t *component, px_program *program,
                                    phlox_error *error)
{
    bool space, split;
    PX_TRY(px_json_bool_or(component, "add_prefix_space", draft->name, true, &space, error));
    PX_TRY(px_json_bool_or(component, "use_regex", draft->name, true, &split, error));
    if (space)
        PX_TRY(add_step(draft, program, (px_step){.kind = PX_STEP_PREFIX_SPACE}, error));
    if (split) {
        px_step step = {.kind = PX_STEP_SPLIT};
        PX_TRY(intern(draft, PX_TEXT(GPT2_SPLIT), &step.a, error));
        PX_TRY(add_step(draft, program, step, error));
    }
    return add_step(draft, program, (px_step){.kind = PX_STEP_BYTE_LEVEL}, error);
}

static phlox_status read_metaspace(px_draft *draft, const json_t *component, px_program *program,
                                   phlox_error *error)
{
    px_step step = {.kind = PX_STEP_METASPACE};
    phlox_text replacement, scheme = {"always", 6};
    bool space, split;
    PX_TRY(px_draft_string(draft, component, "replacement", &replacement, error));
    PX_TRY(px_json_bool_or(component, "add_prefix_space", draft->name, true, &space, error));
    PX_TRY(px_json_bool_or(component, "split", draft->name, true, &split, error));
    if (json_object_get(component, "prepend_scheme") != NULL)
        PX_TRY(px_draft_string(draft, component, "prepend_scheme", &scheme, error));
    if (replacement.size == 0 || (!space && !px_text_is(scheme, "never")))
        return px_fail(error, PHLOX_ERROR_FORMAT, "%s: a Metaspace that contradicts itself",
                       draft->name);
    if (px_text_is(scheme, "first"))
        step.flags |= PX_METASPACE_FIRST;
    else if (px_text_is(scheme, "always"))
        step.flags |= PX_METASPACE_ALWAYS;
    else if (!px_text_is(scheme, "never"))
        return unsupported(draft, "Metaspace with a prepend_scheme", scheme, error);
    if (split) step.flags |= PX_METASPACE_SPLIT;
    PX_TRY(intern(draft, replacement, &step.a, error));
    return add_step(draft, program, step, error);
}

static phlox_status read_splitter(px_draft *draft, const json_t *component, phlox_text type,
                                  px_program *program, phlox_error *error)
{
    if (px_text_is(type, "Split")) return read_split(draft, component, program, error);
    if (px_text_is(type, "ByteLevel")) return read_byte_level(draft, component, program, error);
    if (px_text_is(type, "Metaspace")) return read_metaspace(draft, component, program, error);
    return unsupported(draft, "pre-tokenizer", type, error);
}

/* Decoders are taken in the orders in which the family has them: [ByteLevel], [Metaspace], or
 * Replace, ByteFallback, Fuse, Strip, each but the first at most once. */
static phlox_status check_order(const px_draft *draft, const px_program *program, px_step step,
                                phlox_text type, phlox_error *error)
{
    const uint32_t last = program->count == 0 ? PX_STEP_NONE
                                              : program->steps[program->count - 1].kind;
    bool good = last == PX_STEP_NONE;
    if (step.kind == PX_STEP_REPLACE) good = good || last == PX_STEP_REPLACE;
    if (step.kind == PX_STEP_BYTE_FALLBACK) good = good || last == PX_STEP_REPLACE;
    if (step.kind == PX_STEP_FUSE)
        good = good || last == PX_STEP_REPLACE || last == PX_STEP_BYTE_FALLBACK;
    if (step.kind == PX_STEP_STRIP) good = last == PX_STEP_FUSE;
    return good ? PHLOX_OK : unsupported(draft, "decoder", type, error);
}

static phlox_status read_strip(px_draft *draft, const json_t *component, px_step *step,
                               phlox_error *error)
{
    int64_t start, stop;
    phlox_text content;
    PX_TRY(px_draft_string(draft, component, "content", &content, error));
    PX_TRY(px_json_int(component, "start", draft->name, 0, 1000000, &start, error));
    PX_TRY(px_json_int(component, "stop", draft->name, 0, 1000000, &stop, error));
    if (stop != 0 || content.size == 0)
        return unsupported(draft, "decoder that strips the end", px_draft_type(component), error);
    *step = (px_step){.kind = PX_STEP_STRIP, .flags = (uint32_t)start};
    return intern(draft, content, &step->a, error);
}

static phlox_status read_decoder(px_draft *draft, const json_t *component, phlox_text type,
                                 px_program *program, phlox_error *error)
{
    px_program one = {0};
    if (px_text_is(type, "Replace"))
        PX_TRY(read_replace(draft, component, &one, error));
    else if (px_text_is(type, "Metaspace"))
        PX_TRY(read_metaspace(draft, component, &one, error));
    else if (px_text_is(type, "Strip"))
        PX_TRY(read_strip(draft, component, &one.steps[0], error));
    else if (px_text_is(type, "ByteFallback"))
        one.steps[0].kind = PX_STEP_BYTE_FALLBACK;
    else if (px_text_is(type, "Fuse"))
        one.steps[0].kind = PX_STEP_FUSE;
    else if (px_text_is(type, "ByteLevel"))
        one.steps[0].kind = PX_STEP_DECODE_BYTES;
    else
        return unsupported(draft, "decoder", type, error);
    PX_TRY(check_order(draft, program, one.steps[0], type, error));
    return add_step(draft, program, one.steps[0], error);
}

phlox_status px_draft_programs(px_draft *draft, const json_t *root, phlox_error *error)
{
    px_table_header *const header = &draft->header;
    PX_TRY(walk(draft, json_object_get(root, "normalizer"), "normalizers", read_normalizer,
                &header->normalizer, error));
    PX_TRY(walk(draft, json_object_get(root, "pre_tokenizer"), "pretokenizers", read_splitter,
                &header->splitter, error));
    PX_TRY(walk(draft, json_object_get(root, "decoder"), "decoders", read_decoder,
                &header->decoder, error));
    if (header->decoder.count == 0)
        return px_fail(error, PHLOX_ERROR_UNSUPPORTED,
                       "%s: it has no decoder; the tokenizers of the family have one",
                       draft->name);
    return PHLOX_OK;
}

/* One entry of a template: {"SpecialToken": {"id": name}} or {"Sequence": {"id": "A"}}. */
static phlox_status read_template_entry(px_draft *draft, const json_t *entry,
                                        const json_t *tokens, bool *behind, phlox_error *error)
{
    px_table_header *const header = &draft->header;
    const json_t *const special = json_object_get(entry, "SpecialToken");
    if (special == NULL) {
        phlox_text which = {"", 0};
        PX_TRY(px_draft_string(draft, json_object_get(entry, "Sequence"), "id", &which, error));
        if (*behind || !px_text_is(which, "A"))
            return unsupported(draft, "template with a sequence", which, error);
        *behind = true;
        return PHLOX_OK;
    }
    phlox_text name;
    PX_TRY(px_draft_string(draft, special, "id", &name, error));
    const json_t *const ids = json_object_get(px_draft_member(tokens, name), "ids");
    uint32_t *const count = *behind ? &header->post_after : &header->post_before;
    size_t index;
    json_t *id;
    if (json_array_size(ids) == 0 || json_array_size(ids) > PX_MOST_POST - *count)
        return unsupported(draft, "template with a token", name, error);
    json_array_foreach(ids, index, id) {
        if (!json_is_integer(id) || json_integer_value(id) < 0 ||
            json_integer_value(id) >= (json_int_t)header->ids)
            return px_fail(error, PHLOX_ERROR_FORMAT,
                           "%s: the post-processor names an id that the vocabulary lacks",
                           draft->name);
        header->post[(*behind ? PX_MOST_POST : 0) + (*count)++] = (int32_t)json_integer_value(id);
    }
    return PHLOX_OK;
}

static phlox_status read_post(px_draft *draft, const json_t *component, phlox_text type,
                              px_program *program, phlox_error *error)
{
    if (px_text_is(type, "ByteLevel")) return PHLOX_OK; /* moves offsets only */
    if (!px_text_is(type, "TemplateProcessing") || program->count++ != 0)
        return unsupported(draft, "post-processor", type, error);
    const json_t *const single = json_object_get(component, "single");
    bool behind = false;
    size_t index;
    json_t *entry;
    json_array_foreach(single, index, entry) {
        PX_TRY(read_template_entry(draft, entry, json_object_get(component, "special_tokens"),
                                   &behind, error));
    }
    if (!behind)
        return px_fail(error, PHLOX_ERROR_FORMAT, "%s: a template without the text in it",
                       draft->name);
    return PHLOX_OK;
}

phlox_status px_draft_post(px_draft *draft, const json_t *processor, phlox_error *error)
{
    px_program templates = {0}; /* only counts them */
    return walk(draft, processor, "processors", read_post, &templates, error);
}

/*
 * Speculation changes nothing: whatever is drafted, ids, log-probabilities, text, shifts, the end, and
 * what the session gives afterwards are those of plain generation, bit for bit. Drafts come from prompt
 * lookup and from here: random, right, wrong, and right up to some token.
 */
#include "chain.h"

#include "generate/session.h"

enum { MOST_PIECES = 200, TOP = 5 };

/* ---- what a generation gave ---------------------------------------------------------------- */

typedef struct record {
    phlox_token_info tokens[MOST_PIECES], top[MOST_PIECES][TOP];
    size_t top_counts[MOST_PIECES], shifted[MOST_PIECES], ends[MOST_PIECES]; /* ends: of the text */
    size_t pieces, text_size;
    char text[8192];
    phlox_generate_result result;
    phlox_statistics statistics;
    size_t stop_after; /* pieces; 0: never */
    phlox_session *cancel; /* how to stop: NULL: by what the callback returns */
} record;

static bool see(void *user, const phlox_piece *piece)
{
    record *const r = user;
    assert_true(r->pieces < MOST_PIECES && r->text_size + piece->text.size <= sizeof r->text);
    if (piece->text.size) memcpy(r->text + r->text_size, piece->text.data, piece->text.size);
    r->text_size += piece->text.size;
    r->ends[r->pieces] = r->text_size;
    r->tokens[r->pieces] = piece->token;
    r->shifted[r->pieces] = piece->shifted;
    r->top_counts[r->pieces] = piece->top_count;
    for (size_t i = 0; i < piece->top_count; i++) r->top[r->pieces][i] = piece->top[i];
    r->pieces++;
    if (r->pieces != r->stop_after) return true;
    if (r->cancel) phlox_session_cancel(r->cancel);
    return r->cancel != NULL;
}

static void check_same(const char *what, const record *got, const record *wanted)
{
    const size_t count = PX_MIN(got->pieces, wanted->pieces);
    for (size_t i = 0; i < count; i++)
        if (memcmp(&got->tokens[i], &wanted->tokens[i], sizeof got->tokens[i]) != 0)
            fail_msg("%s: piece %zu is id %d (%.9g), expected %d (%.9g)", what, i,
                     got->tokens[i].id, (double)got->tokens[i].logprob, wanted->tokens[i].id,
                     (double)wanted->tokens[i].logprob);
    if (got->pieces != wanted->pieces || got->result.stop != wanted->result.stop)
        fail_msg("%s: %zu pieces, stop %d; expected %zu, stop %d", what, got->pieces,
                 (int)got->result.stop, wanted->pieces, (int)wanted->result.stop);
    assert_memory_equal(got->top_counts, wanted->top_counts, sizeof got->top_counts);
    assert_memory_equal(got->top, wanted->top, sizeof got->top);
    assert_memory_equal(got->shifted, wanted->shifted, sizeof got->shifted);
    assert_memory_equal(got->ends, wanted->ends, sizeof got->ends);
    assert_memory_equal(got->text, wanted->text, sizeof got->text);
    assert_int_equal(got->result.tokens, wanted->result.tokens);
    assert_int_equal(got->result.stop_string.size, wanted->result.stop_string.size);
    assert_ptr_equal(got->result.stop_string.data, wanted->result.stop_string.data);
    assert_int_equal(got->statistics.decode_tokens, wanted->statistics.decode_tokens);
    assert_int_equal(got->statistics.prefill_tokens, wanted->statistics.prefill_tokens);
    assert_int_equal(got->statistics.context_shifts, wanted->statistics.context_shifts);
    assert_int_equal(got->statistics.rope_recomputes, wanted->statistics.rope_recomputes);
}

/* ---- drafts made here ---------------------------------------------------------------------- */

enum kind { LOOKUP, RANDOM, RIGHT, WRONG, PARTLY, KINDS };

typedef struct drafter {
    enum kind kind;
    const record *plain, *now; /* what plain generation gave; what is being made */
    int32_t vocab;
    uint64_t random;
    size_t largest;
} drafter;

static size_t draft(void *user, const px_ids *ids, size_t most, int32_t *out, size_t *match)
{
    drafter *const d = user;
    assert_true(ids->count && most >= 1 && most <= PX_MOST_DRAFT);
    *match = PX_LEAST_MATCH + test_random(&d->random) % PX_MOST_MATCH;
    const size_t size = d->kind == RIGHT ? most : test_random(&d->random) % (most + 1);
    const size_t right = d->kind == RIGHT    ? size
                         : d->kind == PARTLY ? test_random(&d->random) % (size + 1)
                                             : 0;
    for (size_t i = 0; i < size; i++) {
        const size_t at = d->now->pieces + i;
        const int32_t next = at < d->plain->pieces ? d->plain->tokens[at].id : -1;
        out[i] = (int32_t)(test_random(&d->random) % (uint64_t)d->vocab);
        if (d->kind == WRONG && out[i] == next) out[i] = (next + 1) % d->vocab;
        if (i < right && next >= 0) out[i] = next;
    }
    d->largest = PX_MAX(d->largest, size);
    return size;
}

/* ---- one prompt, with and without ---------------------------------------------------------- */

typedef struct subject {
    const char *name;
    phlox_model *model;
    const int32_t *prompt;
    size_t prompt_count;
} subject;

/* What it made, whatever speculation did: totals over all runs, so that a test sees that it ran. */
static struct {
    uint64_t drafted, accepted, steps, shifts, switches, stops[5];
} seen;

static phlox_session *begin(const subject *s)
{
    phlox_session *session = NULL;
    phlox_error error;
    MUST(phlox_session_create(s->model, &session, &error));
    MUST(phlox_session_append(session, s->prompt, s->prompt_count, NULL, NULL, NULL, &error));
    return session;
}

/* The index of a session's ids is the one that a new index of them would be. */
static void check_lookup(const phlox_session *session)
{
    const px_lookup *const kept = &session->lookup;
    assert_true(kept->count <= session->ids.count);
    px_lookup fresh = {0};
    phlox_error error;
    MUST(px_lookup_extend(&fresh, session->ids.data, kept->count, &error));
    const px_match a = px_lookup_find(kept, session->ids.data);
    const px_match b = px_lookup_find(&fresh, session->ids.data);
    assert_true(a.next == b.next && a.length == b.length);
    px_lookup_free(&fresh);
}

static void generate(phlox_session *session, const phlox_generate_options *options, record *r)
{
    phlox_error error;
    MUST(phlox_session_generate(session, options, see, r, &r->result, &error));
    phlox_session_statistics(session, &r->statistics);
    check_lookup(session);
}

static void count_what_happened(const record *r)
{
    seen.drafted += r->statistics.drafted_tokens;
    seen.accepted += r->statistics.accepted_tokens;
    seen.steps += r->statistics.speculated_steps;
    seen.shifts += r->statistics.context_shifts;
    seen.switches += r->statistics.rope_recomputes;
    seen.stops[r->result.stop]++;
}

/* The sessions have the same ids, and go on in the same way: their caches are the same. */
static void check_sessions(const char *what, phlox_session *got, phlox_session *wanted,
                           const phlox_generate_options *options, size_t vocab, uint64_t random)
{
    size_t count, wanted_count;
    const int32_t *ids = phlox_session_ids(got, &count);
    const int32_t *wanted_ids = phlox_session_ids(wanted, &wanted_count);
    assert_int_equal(count, wanted_count);
    assert_memory_equal(ids, wanted_ids, count * sizeof *ids);
    assert_null(phlox_session_logits(got));
    phlox_error error;
    if (count > 1 && test_random(&random) % 2) {
        const size_t cut = 1 + test_random(&random) % (count - 1);
        MUST(phlox_session_truncate(got, cut, &error));
        MUST(phlox_session_truncate(wanted, cut, &error));
        static record a, b;
        memset(&a, 0, sizeof a);
        memset(&b, 0, sizeof b);
        generate(got, options, &a);
        phlox_generate_options plain = *options;
        plain.speculate = 0;
        generate(wanted, &plain, &b);
        check_same(what, &a, &b);
        phlox_session_ids(got, &count);
    }
    if (count == got->runtime->context_size || test_random(&random) % 2) {
        MUST(phlox_session_truncate(got, count - 1, &error));
        MUST(phlox_session_truncate(wanted, count - 1, &error));
    }
    const int32_t next = (int32_t)(test_random(&random) % vocab);
    MUST(phlox_session_append(got, &next, 1, NULL, NULL, NULL, &error));
    MUST(phlox_session_append(wanted, &next, 1, NULL, NULL, NULL, &error));
    if (memcmp(phlox_session_logits(got), phlox_session_logits(wanted), vocab * sizeof(float)) != 0)
        fail_msg("%s: the cache differs afterwards", what);
}

static void check_kind(const subject *s, const phlox_generate_options *options, enum kind kind,
                       const record *plain, uint64_t random)
{
    static record now;
    memset(&now, 0, sizeof now);
    phlox_model_info info;
    phlox_model_get_info(s->model, &info);
    drafter d = {.kind = kind, .plain = plain, .now = &now, .vocab = info.vocab_size,
                 .random = random};
    phlox_session *session = begin(s), *other = begin(s);
    now.stop_after = plain->stop_after;
    now.cancel = plain->cancel ? session : NULL;
    if (kind != LOOKUP) {
        session->draft = draft;
        session->draft_user = &d;
    }
    generate(session, options, &now);
    char what[300];
    snprintf(what, sizeof what, "%s, drafts of kind %d, up to %d, seed %llu", s->name, (int)kind,
             options->speculate, (unsigned long long)random);
    check_same(what, &now, plain);
    if (kind == WRONG) assert_int_equal(now.statistics.accepted_tokens, 0);
    if (kind == RIGHT && d.largest && now.pieces > 3) assert_true(now.statistics.accepted_tokens > 0);
    assert_true(now.statistics.accepted_tokens <= now.statistics.drafted_tokens);
    count_what_happened(&now);
    /* What comes next, drafted by prompt lookup, against a session that had no speculation. */
    session->draft = NULL;
    static record again;
    memset(&again, 0, sizeof again);
    again.stop_after = plain->stop_after;
    again.cancel = plain->cancel ? other : NULL;
    phlox_generate_options off = *options;
    off.speculate = 0;
    generate(other, &off, &again);
    check_same(what, &again, plain);
    assert_true(!again.statistics.drafted_tokens && !again.statistics.speculated_steps);
    check_sessions(what, session, other, options, (size_t)info.vocab_size, random);
    phlox_session_close(&session);
    phlox_session_close(&other);
}

static phlox_generate_options random_options(const subject *s, uint64_t *random)
{
    phlox_generate_options o;
    phlox_generate_options_init(&o, s->model);
    o.max_new_tokens = (int32_t)(1 + test_random(random) % 90);
    o.do_sample = test_random(random) % 3 != 0;
    o.temperature = (double)(1 + test_random(random) % 20) / 10;
    o.top_k = test_random(random) % 2 ? 0 : (int32_t)(1 + test_random(random) % 40);
    o.top_p = test_random(random) % 2 ? 1 : 0.7;
    o.min_p = test_random(random) % 3 ? 0 : 0.05;
    o.repetition_penalty = test_random(random) % 3 ? 1 : 1.1;
    o.presence_penalty = test_random(random) % 3 ? 0 : 0.6;
    o.frequency_penalty = test_random(random) % 3 ? 0 : 0.3;
    o.seed = test_random(random);
    o.ignore_eos = test_random(random) % 2;
    o.context_shift = test_random(random) % 2;
    o.context_keep = (int32_t)(test_random(random) % 8);
    o.top_logprobs = (int32_t)(test_random(random) % (TOP + 1));
    return o;
}

/* Options at random; every kind of draft, and prompt lookup with every limit. */
static void check_seed(const subject *s, uint64_t seed, const phlox_text *stops, size_t stop_count)
{
    uint64_t random = seed;
    phlox_generate_options options = random_options(s, &random);
    options.stop_strings = stops;
    options.stop_count = test_random(&random) % 2 ? stop_count : 0;
    options.speculate = 0;
    static record plain;
    memset(&plain, 0, sizeof plain);
    phlox_session *session = begin(s);
    if (test_random(&random) % 4 == 0) plain.stop_after = 1 + test_random(&random) % 20;
    if (test_random(&random) % 2) plain.cancel = session;
    generate(session, &options, &plain);
    phlox_session_close(&session);
    for (int kind = 0; kind < KINDS; kind++) {
        options.speculate = 1 + (int32_t)(test_random(&random) % PX_MOST_DRAFT);
        check_kind(s, &options, (enum kind)kind, &plain, test_random(&random));
    }
    options.speculate = PHLOX_SPECULATE_AUTO;
    check_kind(s, &options, LOOKUP, &plain, test_random(&random));
    check_kind(s, &options, PARTLY, &plain, test_random(&random));
}

static phlox_model *open_model(const char *path, phlox_weight_format format, int32_t context,
                               uint64_t cpu_mask)
{
    phlox_model_options options;
    phlox_model_options_init(&options);
    options.no_cache = true;
    options.threads = 1; /* many short steps; what threads compute is tested elsewhere */
    options.cpu_mask = cpu_mask;
    options.context_size = context;
    options.weight_format = format;
    if (format == PHLOX_WEIGHTS_INT4) options.group_size_fallback = PHLOX_FALLBACK_ADJUST;
    phlox_model *model = NULL;
    phlox_error error;
    MUST(phlox_model_open(path, &options, &model, &error));
    return model;
}

/* ---- the models ---------------------------------------------------------------------------- */

static void golden_checkpoints(void **state)
{
    (void)state;
    static const char *const names[] = {"phi3-mini-4k", "phi3-medium-128k", "phi4", "phi4-mini",
                                        "longrope-su", "f16"};
    static const phlox_weight_format formats[] = {PHLOX_WEIGHTS_STORED, PHLOX_WEIGHTS_INT4,
                                                  PHLOX_WEIGHTS_INT8, PHLOX_WEIGHTS_F32};
    static const uint64_t masks[] = {
        0,
        PHLOX_CPU_AVX512 | PHLOX_CPU_AVX512_VNNI | PHLOX_CPU_AVX512_BF16,
        PHLOX_CPU_AVX512 | PHLOX_CPU_AVX512_VNNI | PHLOX_CPU_AVX512_BF16 | PHLOX_CPU_AVX_VNNI,
        UINT64_MAX,
    };
    memset(&seen, 0, sizeof seen);
    uint64_t seed = 0;
    for (size_t i = 0; i < PX_COUNT(names); i++) {
        char path[TEST_PATH], file[TEST_PATH];
        test_path(path, "%s/tests/golden/family/%s", PHLOX_SOURCE_DIR, names[i]);
        test_npy ids = test_npy_open(test_path(file, "%s/ids.npy", path));
        for (size_t f = 0; f < PX_COUNT(formats); f++) {
            /* A short context to shift in, and one that the longrope boundary of 32 is inside of. */
            phlox_model *model = open_model(path, formats[f], f % 2 ? 24 + 10 * (int32_t)f : 128,
                                            masks[(i + f) % PX_COUNT(masks)]);
            const size_t count = PX_MIN((size_t)ids.rows, 1 + 9 * ((i + f) % 4));
            const subject s = {names[i], model, ids.ints, count};
            check_seed(&s, seed++, NULL, 0);
            phlox_model_close(&model);
        }
        test_npy_close(&ids);
    }
    assert_true(seen.steps > 1000 && seen.accepted > 1000 && seen.drafted > 2 * seen.accepted);
    assert_true(seen.shifts > 10 && seen.switches > 10);
    assert_true(seen.stops[PHLOX_STOP_LENGTH] && seen.stops[PHLOX_STOP_CONTEXT] &&
                seen.stops[PHLOX_STOP_CANCELLED]);
}

static void built_in(void **state)
{
    (void)state;
#ifdef PHLOX_HAS_BUILTIN
    static const char prompt[] =
        "<|user|>\nHow do I use phlox?<|end|>\n<|assistant|>\nThe commands of phlox are: `phlox run` to "
        "get an answer, `phlox info` to describe a model, `phlox tokenize` and `phlox detokenize` for "
        "token ids.<|end|>\n<|user|>\nHow do I use phlox?<|end|>\n<|assistant|>\n";
    const phlox_text stops[] = {phlox_text_of("model, `"), phlox_text_of("phlox t")};
    memset(&seen, 0, sizeof seen);
    for (int f = 0; f < 3; f++) {
        phlox_model *model = open_model(
            NULL, (const phlox_weight_format[]){PHLOX_WEIGHTS_STORED, PHLOX_WEIGHTS_INT8,
                                                PHLOX_WEIGHTS_INT4}[f], f == 2 ? 96 : 0, 0);
        int32_t ids[200];
        size_t count;
        phlox_error error;
        MUST(phlox_tokenize(model, phlox_text_of(prompt), PHLOX_TOKENIZE_CONTROL, ids,
                            PX_COUNT(ids), &count, &error));
        assert_true(count <= PX_COUNT(ids));
        const subject s = {"built-in", model, ids, count};
        for (uint64_t seed = 0; seed < 2; seed++)
            check_seed(&s, 100 * (uint64_t)f + seed, stops, PX_COUNT(stops));
        phlox_model_close(&model);
    }
    assert_true(seen.steps > 100 && seen.accepted > 100);
    assert_true(seen.stops[PHLOX_STOP_STRING]);
#else
    skip();
#endif
}

/* ---- a model whose continuation is known --------------------------------------------------- */

static chain letters;

static phlox_model *open_letters(int32_t context)
{
    letters = chain_new();
    chain *c = &letters;
    chain_text(c, "ABCDEFGHIJA", -1);
    chain_text(c, "k\xc3\xa9\xe6\x97\xa5!abc", CHAIN_EOS);
    uint64_t random = 3;
    for (int i = 'R'; i <= 'U'; i++) {
        for (int next = 0; next < CHAIN_VOCAB; next++)
            chain_set(c, chain_byte((char)i), next, 3 * test_random_float(&random));
        chain_set(c, chain_byte((char)i), chain_byte((char)(i == 'U' ? 'R' : i + 1)), 7);
    }
    chain_write(c, 2048, "{\"eos_token_id\":[2,3]}", true);
    return chain_open(c, context);
}

static void known_texts(void **state)
{
    (void)state;
    static const char *const prompts[] = {"ABCDEFGHIJABC", "k\xc3\xa9\xe6\x97\xa5!abck", "RSTURSTUR", "A"};
    const phlox_text stops[] = {phlox_text_of("\xe6\x97\xa5!a"), phlox_text_of("JAB"), phlox_text_of("TX")};
    memset(&seen, 0, sizeof seen);
    for (int32_t context = 0; context <= 40; context += 20) {
        phlox_model *model = open_letters(context);
        for (size_t p = 0; p < PX_COUNT(prompts); p++) {
            int32_t ids[64];
            size_t count = 0;
            for (const char *c = prompts[p]; *c; c++) ids[count++] = chain_byte(*c);
            const subject s = {prompts[p], model, ids, count};
            for (uint64_t seed = 0; seed < 4; seed++)
                check_seed(&s, 1000 * p + seed, stops, PX_COUNT(stops));
        }
        phlox_model_close(&model);
        chain_free(&letters);
    }
    assert_true(seen.steps > 1000 && seen.accepted > 1000 && seen.shifts > 100);
    for (int stop = 0; stop < 5; stop++) assert_true(seen.stops[stop]);
}

/* Steps are saved: twenty tokens of a text that repeats, drafts of up to seven. */
static void steps_are_counted(void **state)
{
    (void)state;
    phlox_model *model = open_letters(0);
    phlox_session *session = chain_session(model, "ABCDEFGHIJABCDE");
    phlox_generate_options options;
    phlox_generate_options_init(&options, model);
    options.max_new_tokens = 20;
    options.speculate = 7;
    phlox_error error;
    MUST(phlox_session_generate(session, &options, NULL, NULL, NULL, &error));
    phlox_statistics s;
    phlox_session_statistics(session, &s);
    /* The first token's logits are there. Then 1 + 7, 1 + 7, and 1 + 2: the last needs none. */
    assert_int_equal(s.speculated_steps, 3);
    assert_int_equal(s.drafted_tokens, 16);
    assert_int_equal(s.accepted_tokens, 16);
    assert_int_equal(s.decode_tokens, 19 + 14);
    phlox_session_close(&session);
    phlox_model_close(&model);
    chain_free(&letters);
}

static const px_device *whole_device;
static size_t refusals;

static phlox_status forward_one(px_device_model *model, const px_batch_item *items, size_t count,
                                phlox_error *error)
{
    if (!items->all_logits) return whole_device->forward(model, items, count, error);
    refusals++;
    return px_fail(error, PHLOX_ERROR_FORMAT, "the logits are not finite");
}

/* A draft that the device fails on is no failure of the generation. */
static void drafts_that_fail(void **state)
{
    (void)state;
    phlox_model *model = open_letters(0);
    phlox_session *session = chain_session(model, "ABCDEFGHIJA"), *plain = session;
    px_runtime runtime = *plain->runtime;
    px_device device = *(whole_device = runtime.device);
    device.forward = forward_one;
    runtime.device = &device;
    phlox_error error;
    MUST(px_session_create(&runtime, &session, &error));
    MUST(phlox_session_append(session, plain->ids.data, plain->ids.count, NULL, NULL, NULL, &error));
    phlox_generate_options options;
    phlox_generate_options_init(&options, model);
    options.max_new_tokens = 9;
    options.speculate = 7;
    record r = {0};
    generate(session, &options, &r);
    assert_int_equal(r.text_size, 9);
    assert_memory_equal(r.text, "BCDEFGHIJ", 9);
    assert_int_equal(refusals, 7); /* not for the first token, nor for the last */
    assert_true(!r.statistics.drafted_tokens && !r.statistics.speculated_steps);
    phlox_session_close(&session);
    phlox_session_close(&plain);
    phlox_model_close(&model);
    chain_free(&letters);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(golden_checkpoints),
        cmocka_unit_test(built_in),
        cmocka_unit_test(known_texts),
        cmocka_unit_test(steps_are_counted),
        cmocka_unit_test(drafts_that_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

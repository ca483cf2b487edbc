/* Generation on a model whose continuation is known: text, ends, stop strings, limits, shifts,
 * log-probabilities, cancellation. */
#include "chain.h"

static chain letters;            /* see setup */
static phlox_model *model, *mute; /* with a tokenizer and without */

/* What the callback saw. */
typedef struct seen {
    char text[512];
    size_t size, pieces, shifted, stop_after; /* stop_after: pieces; 0: never */
    int32_t ids[256];
    phlox_session *cancel; /* cancelled from within the callback */
    bool bad_utf8;
} seen;

static bool is_whole_utf8(const char *data, size_t size)
{
    for (size_t i = 0; i < size;) {
        const unsigned char c = (unsigned char)data[i];
        const size_t length = c < 0x80 ? 1 : c < 0xc2 ? 0 : c < 0xe0 ? 2 : c < 0xf0 ? 3 : 4;
        if (!length || length > size - i) return false;
        for (size_t j = 1; j < length; j++)
            if (((unsigned char)data[i + j] & 0xc0) != 0x80) return false;
        i += length;
    }
    return true;
}

static bool see(void *user, const phlox_piece *piece)
{
    seen *const s = user;
    assert_true(s->size + piece->text.size < sizeof s->text && s->pieces < PX_COUNT(s->ids));
    s->bad_utf8 |= !is_whole_utf8(piece->text.data, piece->text.size);
    if (piece->text.size) memcpy(s->text + s->size, piece->text.data, piece->text.size);
    s->size += piece->text.size;
    s->shifted += piece->shifted;
    s->ids[s->pieces++] = piece->token.id;
    if (s->cancel) phlox_session_cancel(s->cancel);
    return s->pieces != s->stop_after;
}

static phlox_generate_options greedy(int32_t most)
{
    phlox_generate_options options;
    phlox_generate_options_init(&options, model);
    options.max_new_tokens = most;
    return options;
}

/* Generates behind `prompt` and checks what comes. */
static seen check_text(const char *prompt, phlox_generate_options options, const char *text,
                       phlox_stop_reason stop, size_t tokens)
{
    seen s = {0};
    phlox_error error;
    phlox_generate_result result = {0};
    phlox_session *session = chain_session(model, prompt);
    MUST(phlox_session_generate(session, &options, see, &s, &result, &error));
    if (strcmp(s.text, text) != 0 || result.stop != stop || result.tokens != tokens)
        fail_msg("behind \"%s\": \"%s\", stop %d, %zu tokens; expected \"%s\", stop %d, %zu tokens",
                 prompt, s.text, (int)result.stop, result.tokens, text, (int)stop, tokens);
    assert_false(s.bad_utf8);
    assert_int_equal(s.pieces, tokens);
    size_t count;
    const int32_t *ids = phlox_session_ids(session, &count);
    assert_int_equal(count, strlen(prompt) + tokens);
    assert_memory_equal(ids + strlen(prompt), s.ids, tokens * sizeof *ids);
    phlox_session_close(&session);
    assert_null(session);
    return s;
}

/* ---- ends ---------------------------------------------------------------------------------- */

static void text_until_the_end(void **state)
{
    (void)state;
    check_text("a", greedy(-1), "bcdefgh", PHLOX_STOP_EOS, 8);
    check_text("f", greedy(-1), "gh", PHLOX_STOP_EOS, 3);
    /* The prompt's first tokens do not matter to this model. */
    check_text("zzza", greedy(100), "bcdefgh", PHLOX_STOP_EOS, 8);
    seen s = check_text("h", greedy(-1), "", PHLOX_STOP_EOS, 1);
    assert_int_equal(s.ids[0], CHAIN_EOS);
}

static void every_end_token(void **state)
{
    (void)state;
    /* One of generation_config, and those that close a turn whatever it says. */
    seen s = check_text("1", greedy(-1), "", PHLOX_STOP_EOS, 1);
    assert_int_equal(s.ids[0], 3);
    s = check_text("2", greedy(-1), "", PHLOX_STOP_EOS, 1);
    assert_int_equal(s.ids[0], CHAIN_ENDOFTEXT);
    s = check_text("3", greedy(-1), "", PHLOX_STOP_EOS, 1);
    assert_int_equal(s.ids[0], CHAIN_END);
    phlox_model_info info;
    phlox_model_get_info(model, &info);
    assert_int_equal(info.eos_count, 4);
    phlox_generate_options options = greedy(4);
    options.ignore_eos = true;
    check_text("g", options, "hij", PHLOX_STOP_LENGTH, 4); /* </s> leads to i */
}

static void limits(void **state)
{
    (void)state;
    check_text("a", greedy(0), "", PHLOX_STOP_LENGTH, 0);
    check_text("a", greedy(1), "b", PHLOX_STOP_LENGTH, 1);
    check_text("a", greedy(3), "bcd", PHLOX_STOP_LENGTH, 3);
    check_text("a", greedy(7), "bcdefgh", PHLOX_STOP_LENGTH, 7);
    check_text("a", greedy(8), "bcdefgh", PHLOX_STOP_EOS, 8); /* the last token is the end */
}

static void goes_on_where_it_ended(void **state)
{
    (void)state;
    phlox_session *session = chain_session(model, "a");
    phlox_error error;
    seen s = {0};
    phlox_generate_options options = greedy(3);
    MUST(phlox_session_generate(session, &options, see, &s, NULL, &error));
    options.max_new_tokens = 2;
    MUST(phlox_session_generate(session, &options, see, &s, NULL, &error));
    assert_string_equal(s.text, "bcdef");
    MUST(phlox_session_generate(session, &options, NULL, NULL, NULL, &error));
    size_t count;
    const int32_t *ids = phlox_session_ids(session, &count);
    assert_int_equal(count, 8);
    assert_int_equal(ids[7], chain_byte('h'));
    phlox_session_close(&session);
}

static void unnamed_and_split_characters(void **state)
{
    (void)state;
    check_text("k", greedy(-1), "\xc3\xa9\xe6\x97\xa5!", PHLOX_STOP_EOS, 7);
    check_text("l", greedy(-1), "\xef\xbf\xbd", PHLOX_STOP_EOS, 2); /* an incomplete one */
    check_text("l", greedy(1), "\xef\xbf\xbd", PHLOX_STOP_LENGTH, 1);
    check_text("m", greedy(-1), "!", PHLOX_STOP_EOS, 3); /* an id that has no text */
    check_text("n", greedy(-1), "hello", PHLOX_STOP_EOS, 3);
    check_text("o", greedy(-1), " the!", PHLOX_STOP_EOS, 3); /* it goes on behind "o" */
}

/* ---- stop strings -------------------------------------------------------------------------- */

static void check_stop(const char *prompt, const char *stops, const char *text,
                       const char *matched, size_t tokens)
{
    /* stops: separated by '|' */
    phlox_text list[4];
    size_t count = 0;
    for (const char *at = stops; *at; at += at[strcspn(at, "|")] ? strcspn(at, "|") + 1
                                                                 : strcspn(at, "|"))
        list[count++] = (phlox_text){at, strcspn(at, "|")};
    phlox_generate_options options = greedy(-1);
    options.stop_strings = list;
    options.stop_count = count;
    seen s = {0};
    phlox_generate_result result = {0};
    phlox_error error;
    phlox_session *session = chain_session(model, prompt);
    MUST(phlox_session_generate(session, &options, see, &s, &result, &error));
    if (strcmp(s.text, text) != 0 || result.tokens != tokens ||
        result.stop != (matched ? PHLOX_STOP_STRING : PHLOX_STOP_EOS))
        fail_msg("stop at %s: \"%s\", %zu tokens, stop %d; expected \"%s\", %zu", stops, s.text,
                 result.tokens, (int)result.stop, text, tokens);
    assert_false(s.bad_utf8);
    assert_int_equal(s.pieces, tokens);
    assert_int_equal(result.stop_string.size, matched ? strlen(matched) : 0);
    if (matched) assert_memory_equal(result.stop_string.data, matched, strlen(matched));
    phlox_session_close(&session);
}

static void stop_strings(void **state)
{
    (void)state;
    check_stop("a", "cde", "b", "cde", 4);
    check_stop("a", "b", "", "b", 1);
    check_stop("a", "bcdefgh", "", "bcdefgh", 7);
    check_stop("a", "h", "bcdefg", "h", 7);
    check_stop("a", "a", "bcdefgh", NULL, 8); /* the prompt does not count */
    check_stop("a", "cdx", "bcdefgh", NULL, 8);
    check_stop("a", "ghi", "bcdefgh", NULL, 8);   /* held to the end, then said */
    check_stop("a", "cdx|de", "bc", "de", 4);     /* one fails inside another */
    check_stop("a", "cdefx|ef", "bcd", "ef", 5);
    check_stop("a", "de|cde", "b", "cde", 4);     /* the earlier place */
    check_stop("a", "cd|cde", "b", "cd", 3);
    check_stop("a", "cde|cd", "b", "cd", 3);
    check_stop("a", "x|y|z|fg", "bcde", "fg", 6);
}

static void stop_strings_across_tokens_and_bytes(void **state)
{
    (void)state;
    check_stop("n", "el", "h", "el", 2); /* "he", "llo" */
    check_stop("n", "lo", "hel", "lo", 2);
    check_stop("n", "el|lo", "h", "el", 2); /* the earlier one, in whatever order */
    check_stop("n", "lo|el", "h", "el", 2);
    check_stop("n", "ell", "h", "ell", 2);
    check_stop("n", "hex", "hello", NULL, 3);
    check_stop("n", "h", "", "h", 1);
    /* A run of byte tokens is text when it has ended: whether it is valid shows only then. */
    check_stop("k", "\xc3\xa9", "", "\xc3\xa9", 6);
    check_stop("k", "\xe6\x97\xa5", "\xc3\xa9", "\xe6\x97\xa5", 6);
    check_stop("k", "\xc3\xa9\xe6\x97\xa6", "\xc3\xa9\xe6\x97\xa5!", NULL, 7);
    check_stop("o", "the", " ", "the", 1);
    check_stop("o", " the", "", " the", 1);
}

/* ---- the context --------------------------------------------------------------------------- */

static void a_full_context(void **state)
{
    (void)state;
    phlox_model *small = chain_open(&letters, 16);
    phlox_session *session = chain_session(small, "A");
    phlox_generate_options options = greedy(-1);
    phlox_generate_result result;
    phlox_error error;
    seen s = {0};
    MUST(phlox_session_generate(session, &options, see, &s, &result, &error));
    assert_int_equal(result.stop, PHLOX_STOP_CONTEXT);
    assert_int_equal(result.tokens, 15);
    assert_string_equal(s.text, "BCDEFGHIJABCDEF");
    size_t count;
    phlox_session_ids(session, &count);
    assert_int_equal(count, 16);
    MUST_FAIL(phlox_session_generate(session, &options, see, &s, &result, &error),
              PHLOX_ERROR_CONTEXT_FULL, "16");
    const int32_t one = 5;
    MUST_FAIL(phlox_session_append(session, &one, 1, NULL, NULL, NULL, &error),
              PHLOX_ERROR_CONTEXT_FULL, "16");
    phlox_session_ids(session, &count);
    assert_int_equal(count, 16);
    /* Reached together, the length is the reason. */
    MUST(phlox_session_truncate(session, 14, &error));
    options.max_new_tokens = 2;
    MUST(phlox_session_generate(session, &options, NULL, NULL, &result, &error));
    assert_int_equal(result.stop, PHLOX_STOP_LENGTH);
    phlox_session_close(&session);
    phlox_model_close(&small);
}

static void the_context_shifts(void **state)
{
    (void)state;
    for (int32_t keep = 0; keep <= 14; keep += 7) {
        phlox_model *small = chain_open(&letters, 16);
        phlox_session *session = chain_session(small, "zyA");
        phlox_generate_options options = greedy(100);
        options.context_shift = true;
        options.context_keep = keep;
        phlox_generate_result result;
        phlox_error error;
        seen s = {0};
        MUST(phlox_session_generate(session, &options, see, &s, &result, &error));
        assert_int_equal(result.stop, PHLOX_STOP_LENGTH);
        for (size_t i = 0; i < 100; i++) assert_int_equal(s.text[i], "ABCDEFGHIJ"[(i + 1) % 10]);
        size_t count;
        const int32_t *ids = phlox_session_ids(session, &count);
        assert_int_equal(count, 3 + 100 - s.shifted);
        assert_true(s.shifted > 0 && count <= 16);
        if (keep) assert_true(ids[0] == chain_byte('z') && ids[1] == chain_byte('y'));
        phlox_statistics statistics;
        phlox_session_statistics(session, &statistics);
        assert_true(statistics.context_shifts > 0);
        phlox_session_close(&session);
        phlox_model_close(&small);
    }
    phlox_model *small = chain_open(&letters, 16);
    phlox_session *session = chain_session(small, "A");
    phlox_generate_options options = greedy(100);
    options.context_shift = true;
    options.context_keep = 15;
    phlox_error error;
    MUST_FAIL(phlox_session_generate(session, &options, NULL, NULL, NULL, &error),
              PHLOX_ERROR_CONTEXT_FULL, "16");
    phlox_session_close(&session);
    phlox_model_close(&small);
}

/* What a shift has kept of the prompt is not punished as generated. */
static void penalties_after_a_shift(void **state)
{
    (void)state;
    phlox_model *small = chain_open(&letters, 16);
    phlox_session *session = chain_session(small, "P\x80");
    phlox_generate_options options = greedy(21);
    options.context_shift = true;
    options.context_keep = 1;
    options.presence_penalty = 1;
    phlox_error error;
    phlox_generate_result result;
    seen s = {0};
    MUST(phlox_session_generate(session, &options, see, &s, &result, &error));
    assert_true(s.shifted > 0 && s.pieces == 21);
    for (int i = 0; i < 20; i++) assert_int_equal(s.ids[i], chain_byte((char)(0x81 + i)));
    assert_int_equal(s.ids[20], chain_byte('P'));
    phlox_session_close(&session);
    phlox_model_close(&small);
}

/* ---- log-probabilities --------------------------------------------------------------------- */

typedef struct probabilities {
    int32_t previous;
    size_t pieces;
} probabilities;

static bool check_logprobs(void *user, const phlox_piece *piece)
{
    probabilities *const p = user;
    const float *row = letters.logits + p->previous * CHAIN_VOCAB;
    double sum = 0;
    for (int i = 0; i < CHAIN_VOCAB; i++) sum += exp((double)row[i]);
    assert_true(fabs((double)piece->token.logprob - ((double)row[piece->token.id] - log(sum))) < 1e-3);
    assert_int_equal(piece->top_count, 5);
    assert_true(piece->top[0].id == piece->token.id &&
                piece->top[0].logprob == piece->token.logprob);
    for (size_t i = 0; i < piece->top_count; i++) {
        const phlox_token_info *t = &piece->top[i];
        assert_true(fabs((double)t->logprob - ((double)row[t->id] - log(sum))) < 1e-3);
        if (i) assert_true(t->logprob <= t[-1].logprob);
        for (size_t j = 0; j < i; j++) assert_int_not_equal(piece->top[j].id, t->id);
    }
    p->previous = piece->token.id;
    p->pieces++;
    return true;
}

static void log_probabilities(void **state)
{
    (void)state;
    phlox_session *session = chain_session(model, "R");
    phlox_generate_options options = greedy(4);
    options.top_logprobs = 5;
    options.repetition_penalty = 1.0001; /* reported is the distribution before penalties */
    probabilities p = {chain_byte('R'), 0};
    phlox_error error;
    MUST(phlox_session_generate(session, &options, check_logprobs, &p, NULL, &error));
    assert_int_equal(p.pieces, 4);
    phlox_session_close(&session);
}

/* ---- sampling ------------------------------------------------------------------------------ */

static void generate_sampled(uint64_t seed, seen *out)
{
    phlox_session *session = chain_session(model, "R");
    phlox_generate_options options = greedy(60);
    options.do_sample = true;
    options.temperature = options.top_p = 1;
    options.top_k = 0;
    options.seed = seed;
    options.ignore_eos = true;
    phlox_error error;
    *out = (seen){0};
    MUST(phlox_session_generate(session, &options, see, out, NULL, &error));
    phlox_session_close(&session);
}

static void the_seed_decides(void **state)
{
    (void)state;
    seen a, b, c;
    generate_sampled(7, &a);
    generate_sampled(7, &b);
    generate_sampled(8, &c);
    assert_memory_equal(a.ids, b.ids, sizeof a.ids);
    assert_memory_not_equal(a.ids, c.ids, sizeof a.ids);
}

static void defaults_of_the_model(void **state)
{
    (void)state;
    phlox_generate_options o;
    phlox_generate_options_init(&o, model);
    assert_int_equal(o.struct_size, sizeof o);
    assert_true(!o.do_sample && o.temperature == 0.5 && o.top_k == 7 && o.top_p == 0.25);
    assert_true(o.repetition_penalty == 1 && o.max_new_tokens == -1 && o.seed == 0);
    assert_true(!o.stop_count && !o.ignore_eos && !o.context_shift && !o.top_logprobs);
    assert_int_equal(o.speculate, PHLOX_SPECULATE_AUTO);
}

/* ---- cancelling ---------------------------------------------------------------------------- */

static void cancellation_keeps_what_was_made(void **state)
{
    (void)state;
    for (int kind = 0; kind < 2; kind++) {
        phlox_session *session = chain_session(model, "A");
        const phlox_generate_options options = greedy(-1);
        phlox_generate_result result = {0};
        phlox_error error;
        seen s = {0};
        if (kind) s.cancel = session;
        else s.stop_after = 3;
        MUST(phlox_session_generate(session, &options, see, &s, &result, &error));
        const size_t made = kind ? 1 : 3;
        assert_int_equal(result.stop, PHLOX_STOP_CANCELLED);
        assert_int_equal(result.tokens, made);
        assert_int_equal(s.pieces, made);
        size_t count;
        phlox_session_ids(session, &count);
        assert_int_equal(count, 1 + made);
        /* The next call goes on. */
        phlox_generate_options more = options;
        more.max_new_tokens = 2;
        s.cancel = NULL;
        s.stop_after = 0;
        MUST(phlox_session_generate(session, &more, see, &s, &result, &error));
        assert_string_equal(s.text, kind ? "BCD" : "BCDEF");
        phlox_session_close(&session);
    }
}

/* ---- what is refused ----------------------------------------------------------------------- */

static void refused(void **state)
{
    (void)state;
    phlox_session *session = chain_session(model, "");
    phlox_generate_options good = greedy(2), o;
    phlox_error error;
    MUST_FAIL(phlox_session_generate(session, &good, NULL, NULL, NULL, &error),
              PHLOX_ERROR_ARGUMENT, "no tokens");
    phlox_session_close(&session);
    session = chain_session(model, "a");
    const phlox_text empty = {"", 0};
#define REFUSED(change, word)                                                                    \
    do {                                                                                         \
        o = good;                                                                                \
        change;                                                                                  \
        MUST_FAIL(phlox_session_generate(session, &o, NULL, NULL, NULL, &error),                 \
                  PHLOX_ERROR_ARGUMENT, word);                                                   \
    } while (0)
    REFUSED(o.struct_size = 0, "phlox_generate_options_init");
    REFUSED(o.max_new_tokens = -2, "-2");
    REFUSED((o.stop_strings = &empty, o.stop_count = 1), "stop string 0");
    const phlox_text half = {"ab\xa5!", 4};
    REFUSED((o.stop_strings = &half, o.stop_count = 1), "byte 2");
    REFUSED(o.temperature = -1, "temperature");
    REFUSED(o.temperature = NAN, "temperature");
    REFUSED(o.temperature = INFINITY, "temperature");
    REFUSED(o.top_k = -1, "top-k");
    REFUSED(o.top_p = 1.5, "top-p");
    REFUSED(o.top_p = NAN, "top-p");
    REFUSED(o.min_p = -0.5, "min-p");
    REFUSED(o.repetition_penalty = 0, "repetition-penalty");
    REFUSED(o.presence_penalty = NAN, "presence-penalty");
    REFUSED(o.frequency_penalty = INFINITY, "frequency-penalty");
    REFUSED(o.top_logprobs = PHLOX_MAX_TOP_LOGPROBS + 1, "top-logprobs");
    REFUSED(o.top_logprobs = -1, "top-logprobs");
    REFUSED(o.speculate = -2, "speculate is -2");
    REFUSED(o.speculate = PHLOX_MAX_DRAFT + 1, "speculate is 8");
    size_t count;
    phlox_session_ids(session, &count);
    assert_int_equal(count, 1);
    phlox_session_close(&session);
}

static void without_a_tokenizer(void **state)
{
    (void)state;
    phlox_session *session = chain_session(mute, "a");
    phlox_generate_options options = greedy(-1);
    phlox_generate_result result;
    phlox_error error;
    seen s = {0};
    MUST(phlox_session_generate(session, &options, see, &s, &result, &error));
    assert_int_equal(result.stop, PHLOX_STOP_EOS);
    assert_int_equal(result.tokens, 8);
    assert_int_equal(s.size, 0);
    assert_int_equal(s.ids[0], chain_byte('b'));
    const phlox_text stop = phlox_text_of("c");
    options.stop_strings = &stop;
    options.stop_count = 1;
    MUST_FAIL(phlox_session_generate(session, &options, see, &s, &result, &error),
              PHLOX_ERROR_ARGUMENT, "tokenizer");
    phlox_session_close(&session);
}

static int setup(void **state)
{
    (void)state;
    letters = chain_new();
    chain *c = &letters;
    chain_text(c, "abcdefgh", CHAIN_EOS);
    chain_set(c, CHAIN_EOS, chain_byte('i'), 20);
    chain_text(c, "ij", -1);
    chain_set(c, chain_byte('1'), 3, 20);
    chain_set(c, chain_byte('2'), CHAIN_ENDOFTEXT, 20);
    chain_set(c, chain_byte('3'), CHAIN_END, 20);
    chain_text(c, "ABCDEFGHIJA", -1);
    /* Behind k: e with an acute accent, the sun, an exclamation mark. */
    chain_text(c, "k\xc3\xa9\xe6\x97\xa5!", CHAIN_EOS);
    chain_text(c, "l\xc2", CHAIN_EOS);
    chain_set(c, chain_byte('m'), CHAIN_UNNAMED, 20);
    chain_set(c, CHAIN_UNNAMED, chain_byte('!'), 20);
    chain_set(c, chain_byte('n'), CHAIN_HE, 20);
    chain_set(c, CHAIN_HE, CHAIN_LLO, 20);
    chain_set(c, CHAIN_LLO, CHAIN_EOS, 20);
    chain_set(c, chain_byte('o'), CHAIN_THE, 20);
    chain_set(c, CHAIN_THE, chain_byte('!'), 20);
    /* 0x80 to 0x94, where P is a little better than going on. */
    for (int i = 0x80; i < 0x96; i++) chain_set(c, chain_byte((char)i), chain_byte((char)(i + 1)), 10);
    chain_set(c, chain_byte((char)0x94), chain_byte('P'), 10.5f);
    /* R to U with some spread, and back to R. */
    uint64_t random = 3;
    for (int i = 'R'; i <= 'U'; i++) {
        for (int next = 0; next < CHAIN_VOCAB; next++)
            chain_set(c, chain_byte((char)i), next, 3 * test_random_float(&random));
        chain_set(c, chain_byte((char)i), chain_byte((char)(i == 'U' ? 'R' : i + 1)), 5);
    }
    static const char generation[] =
        "{\"eos_token_id\":[2,3],\"temperature\":0.5,\"top_k\":7,\"top_p\":0.25}";
    chain_write(c, 2048, generation, false);
    mute = chain_open(c, 0);
    chain_write(c, 2048, generation, true);
    model = chain_open(c, 0);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    phlox_model_close(&model);
    phlox_model_close(&mute);
    chain_free(&letters);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(text_until_the_end),
        cmocka_unit_test(every_end_token),
        cmocka_unit_test(limits),
        cmocka_unit_test(goes_on_where_it_ended),
        cmocka_unit_test(unnamed_and_split_characters),
        cmocka_unit_test(stop_strings),
        cmocka_unit_test(stop_strings_across_tokens_and_bytes),
        cmocka_unit_test(a_full_context),
        cmocka_unit_test(the_context_shifts),
        cmocka_unit_test(penalties_after_a_shift),
        cmocka_unit_test(log_probabilities),
        cmocka_unit_test(the_seed_decides),
        cmocka_unit_test(defaults_of_the_model),
        cmocka_unit_test(cancellation_keeps_what_was_made),
        cmocka_unit_test(refused),
        cmocka_unit_test(without_a_tokenizer),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}

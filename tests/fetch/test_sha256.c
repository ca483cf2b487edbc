#include "support.h"

#include "fetch/sha256.h"

static void expect(const char *data, size_t size, size_t piece, const char *wanted)
{
    px_sha256 hash;
    char text[PX_SHA256_TEXT];
    px_sha256_begin(&hash);
    for (size_t at = 0; at < size; at += piece) px_sha256_add(&hash, data + at, PX_MIN(piece, size - at));
    px_sha256_end(&hash, text);
    assert_string_equal(text, wanted);
}

/* Of FIPS 180-2, appendix B, and of the empty message. */
static void known_digests(void **state)
{
    (void)state;
    static const char two[] = "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq";
    expect("", 0, 1, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    for (size_t piece = 1; piece < 70; piece++) {
        expect("abc", 3, piece, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        expect(two, 56, piece, "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
    }
    char *const million = malloc(1000000);
    memset(million, 'a', 1000000);
    expect(million, 1000000, 999, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
    expect(million, 1000000, 1000000, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
    free(million);
}

/* Lengths around the places where the padding begins another block; digests by Python's hashlib. */
static void lengths_around_a_block(void **state)
{
    (void)state;
    static const struct {
        size_t size;
        const char *digest;
    } table[] = {
        {55, "9f4390f8d30c2dd92ec9f095b65e2b9ae9b0a925a5258e241c9f1e910f734318"},
        {56, "b35439a4ac6f0948b6d6f9e3c6af0f5f590ce20f1bde7090ef7970686ec6738a"},
        {63, "7d3e74a05d7db15bce4ad9ec0658ea98e3f06eeecf16b4c6fff2da457ddc2f34"},
        {64, "ffe054fe7ae0cb6dc65c3af9b61d5209f439851db43d0ba5997337df154668eb"},
        {65, "635361c48bb9eab14198e76ea8ab7f1a41685d6ad62aa9146d301d4f17eb0ae0"},
    };
    char a[65];
    memset(a, 'a', sizeof a);
    for (size_t i = 0; i < PX_COUNT(table); i++)
        for (size_t piece = 1; piece <= 65; piece++) expect(a, table[i].size, piece, table[i].digest);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(known_digests),
        cmocka_unit_test(lengths_around_a_block),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Feature detection, and that a mask only ever takes away. */
#include "kernels/check.h"

/* The system's own list, where it has one. */
static bool system_lists(const char *flag)
{
    FILE *file = fopen("/proc/cpuinfo", "r");
    if (file == NULL) return false;
    static char line[8192];
    bool found = false;
    const size_t size = strlen(flag);
    while (!found && fgets(line, sizeof line, file) != NULL) {
        if (strncmp(line, "flags", 5) != 0 && strncmp(line, "Features", 8) != 0) continue;
        for (const char *at = line; (at = strstr(at, flag)) != NULL; at += size)
            found = found || (at[-1] == ' ' && (at[size] == ' ' || at[size] == '\n'));
    }
    fclose(file);
    return found;
}

static void test_features(void **unused)
{
    (void)unused;
    static const struct {
        uint64_t bit;
        const char *flags[4];
    } cases[] = {
        {PHLOX_CPU_AVX2, {"avx2", "fma", "f16c", "avx"}},
        {PHLOX_CPU_AVX_VNNI, {"avx2", "fma", "f16c", "avx_vnni"}},
        {PHLOX_CPU_AVX512, {"avx512f", "avx512bw", "avx512vl", "avx512dq"}},
        {PHLOX_CPU_AVX512_VNNI, {"avx512f", "avx512bw", "avx512vl", "avx512_vnni"}},
        {PHLOX_CPU_AVX512_BF16, {"avx512f", "avx512bw", "avx512vl", "avx512_bf16"}},
        {PHLOX_CPU_NEON, {"asimd", "asimd", "asimd", "asimd"}},
        {PHLOX_CPU_DOTPROD, {"asimd", "asimddp", "asimddp", "asimddp"}},
        {PHLOX_CPU_I8MM, {"asimd", "i8mm", "i8mm", "i8mm"}},
    };
    assert_true(px_cpu_features() == phlox_cpu_features());
    /* an emulator shows the list of the machine below it */
    if (options.quick || !(system_lists("sse2") || system_lists("asimd"))) skip();
    for (size_t i = 0; i < PX_COUNT(cases); i++) {
        bool all = true;
        for (int flag = 0; flag < 4; flag++) all = all && system_lists(cases[i].flags[flag]);
        assert_int_equal((px_cpu_features() & cases[i].bit) != 0, all);
    }
}

static void test_names(void **unused)
{
    (void)unused;
    assert_string_equal(phlox_cpu_feature_name(PHLOX_CPU_AVX2), "avx2");
    assert_string_equal(phlox_cpu_feature_name(PHLOX_CPU_I8MM), "i8mm");
    assert_null(phlox_cpu_feature_name(0));
    assert_null(phlox_cpu_feature_name(3));
    assert_null(phlox_cpu_feature_name((uint64_t)1 << 63));
    for (uint64_t features = px_cpu_features(), bit = 1; features != 0; bit <<= 1) {
        if (features & bit) assert_non_null(phlox_cpu_feature_name(bit));
        features &= ~bit;
    }
}

/* Every entry of every level is filled in, and no feature means the reference. */
static void test_tables(void **unused)
{
    (void)unused;
    for (size_t level = 0; level < PX_COUNT(check_levels); level++) {
        px_kernels k;
        memset(&k, 0, sizeof k);
        if (!check_table(level, &k)) continue;
        for (int type = 0; type < PX_WEIGHT_TYPES; type++) {
            assert_true(k.matmul[type] != NULL);
            assert_true(k.dequantize[type] != NULL);
            assert_true((k.matmul_q8[type] != NULL) == (k.matmul_tiles[type] != NULL));
        }
        for (int type = 0; type < PX_CACHE_FLOATS; type++) {
            assert_true(k.cache_store[type] != NULL);
            assert_true(k.attention_scores[type] != NULL);
            assert_true(k.attention_mix[type] != NULL);
        }
        assert_true(k.quantize != NULL && k.rms_norm != NULL && k.swiglu != NULL);
        assert_true(k.add != NULL && k.rope != NULL && k.softmax != NULL);
    }
    px_kernels all, reference;
    px_kernels_init(&reference, 0);
    px_kernels_init(&all, px_cpu_features() & ~(uint64_t)(PHLOX_CPU_AVX2 | PHLOX_CPU_NEON));
    assert_string_equal(reference.name, "reference");
    assert_true(all.matmul[PX_WEIGHT_I4] == reference.matmul[PX_WEIGHT_I4]);
    assert_true(all.softmax == reference.softmax);

    /* the widest that all its features allow, and nothing by halves */
    static const struct {
        uint64_t features;
        const char *name;
    } names[] = {
        {PHLOX_CPU_AVX_VNNI, "reference"},
        {PHLOX_CPU_AVX512 | PHLOX_CPU_AVX512_VNNI, "reference"},
        {PHLOX_CPU_AVX512, "reference"},
        {PHLOX_CPU_AVX2 | PHLOX_CPU_AVX512, "avx512"},
        {PHLOX_CPU_AVX2 | PHLOX_CPU_AVX_VNNI | PHLOX_CPU_AVX512, "avx512"},
        {PHLOX_CPU_AVX2 | PHLOX_CPU_AVX512_VNNI, "avx2"},
        {PHLOX_CPU_AVX2 | PHLOX_CPU_AVX_VNNI | PHLOX_CPU_AVX512_VNNI, "avx-vnni"},
        {PHLOX_CPU_AVX2 | PHLOX_CPU_AVX_VNNI | PHLOX_CPU_AVX512 | PHLOX_CPU_AVX512_VNNI,
         "avx512-vnni"},
        {PHLOX_CPU_DOTPROD | PHLOX_CPU_I8MM, "reference"},
        {PHLOX_CPU_NEON | PHLOX_CPU_I8MM, "neon"},
        {PHLOX_CPU_NEON | PHLOX_CPU_DOTPROD, "dotprod"},
        {PHLOX_CPU_NEON | PHLOX_CPU_DOTPROD | PHLOX_CPU_I8MM, "i8mm"},
    };
    for (size_t i = 0; i < PX_COUNT(names); i++) {
        if (names[i].features & ~options.features) continue; /* filling a table may need them too */
        px_kernels_init(&all, names[i].features);
        assert_string_equal(all.name, names[i].name);
    }
}

int main(int count, char **arguments)
{
    check_arguments(count, arguments);
    if (count > 1 && strcmp(arguments[1], "--features") == 0) { /* for test_qemu.sh */
        for (uint64_t bit = 1; bit != 0; bit <<= 1)
            if (options.features & bit) puts(phlox_cpu_feature_name(bit));
        return 0;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_features),
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_tables),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

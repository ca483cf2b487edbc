#include "api/builtin.h"

#ifdef PHLOX_HAS_BUILTIN

/* A file that the model lacks is embedded as an empty one. */
static size_t add(px_memory_file *out, size_t count, const char *name, const unsigned char *begin,
                  const unsigned char *end)
{
    if (end == begin) return count;
    out[count] = (px_memory_file){name, {(const char *)begin, (size_t)(end - begin)}};
    return count + 1;
}

size_t px_builtin_files(px_memory_file *out)
{
    size_t count = 0;
#define PX_BUILTIN_ADD(symbol, file) count = add(out, count, file, symbol, symbol##_end);
    PX_BUILTIN_FILES(PX_BUILTIN_ADD)
#undef PX_BUILTIN_ADD
    return count;
}

static void find_known(px_known_answer *out)
{
    const int32_t *const words = (const void *)px_builtin_known; /* aligned to 64 bytes */
    const size_t prompt = (size_t)words[0], steps = (size_t)words[1];
    *out = (px_known_answer){.ids = words + 2, .prompt = prompt, .steps = steps,
                             .logits = (const void *)(words + 2 + prompt + steps - 1)};
}

#else

static void find_known(px_known_answer *out)
{
    *out = (px_known_answer){.steps = 0};
}

size_t px_builtin_files(px_memory_file *out)
{
    (void)out;
    return 0;
}

#endif

phlox_status px_builtin_open_or(const char *path, px_checkpoint **out, phlox_error *error)
{
    if (path) return px_checkpoint_open(path, out, error);
    px_memory_file files[PX_BUILTIN_MOST];
    const size_t count = px_builtin_files(files);
    if (!count)
        return px_fail(error, PHLOX_ERROR_NOT_FOUND,
                       "this build of phlox has no built-in model; give the path of a model");
    return px_checkpoint_open_memory(files, count, out, error);
}

phlox_status px_builtin_open_known(px_checkpoint **model, px_known_answer *known, phlox_error *error)
{
    find_known(known);
    return px_builtin_open_or(NULL, model, error);
}

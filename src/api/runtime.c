#include "base/tree.h"
#include "fetch/runtimes.h"

#include <phlox/devices.h>

#include <stdlib.h>
#include <string.h>

struct listing {
    const char *name;
    phlox_runtime_fn *visit;
    void *user;
    size_t count; /* of this name */
    bool is_over;
};

static bool give(void *user, const px_runtime_place *place)
{
    struct listing *const l = user;
    char *const directory =
        place->origin == PX_RUNTIME_OWN
            ? px_strdup(place->library, (size_t)(strrchr(place->library, '/') - place->library))
            : NULL;
    const phlox_runtime runtime = {
        .name = l->name,
        .package = place->package,
        .version = place->version,
        .origin = px_runtime_origin_name(place->origin),
        .library = place->library,
        .onnxruntime = place->onnxruntime ? place->onnxruntime : "",
        .onnxruntime_version = place->onnxruntime_version,
        .bytes = directory ? px_tree_bytes(directory) : 0,
        .is_used = l->count++ == 0,
    };
    free(directory);
    l->is_over = !l->visit(l->user, &runtime);
    return !l->is_over;
}

phlox_status phlox_runtime_list(const char *name, phlox_runtime_fn *visit, void *user,
                                phlox_error *error)
{
    static const char *const all[] = {"openvino", "onnxruntime-genai"};
    struct listing l = {.visit = visit, .user = user};
    for (size_t i = 0; i < (name ? 1 : PX_COUNT(all)) && !l.is_over; i++) {
        l.name = name ? name : all[i];
        l.count = 0;
        PX_TRY(px_runtime_find(l.name, NULL, give, &l, NULL, error));
    }
    return PHLOX_OK;
}

void phlox_runtime_options_init(phlox_runtime_options *options)
{
    *options = (phlox_runtime_options){.struct_size = sizeof *options};
}

phlox_status phlox_runtime_add(const char *name, const phlox_runtime_options *options,
                               phlox_runtime_result *result, phlox_error *error)
{
    phlox_runtime_options given;
    phlox_runtime_options_init(&given);
    if (options && options->struct_size != sizeof *options)
        return px_fail(error, PHLOX_ERROR_ARGUMENT,
                       "phlox_runtime_options was not set up by phlox_runtime_options_init()");
    if (options) given = *options;
    const px_runtime_request request = {name, given.version, given.index_url, given.offline,
                                        given.progress, given.progress_user};
    px_runtime_result added;
    PX_TRY(px_runtime_add(&request, &added, error));
    if (!result) return PHLOX_OK;
    memcpy(result->version, added.version, sizeof result->version);
    memcpy(result->directory, added.directory, sizeof result->directory);
    result->downloaded = added.downloaded;
    result->installed = added.installed;
    result->was_there = added.was_there;
    return PHLOX_OK;
}

phlox_status phlox_runtime_remove(const char *name, size_t *removed, phlox_error *error)
{
    return px_runtime_remove(name, removed, error);
}

#include "engine/exported.h"

#include "base/cache.h"
#include "base/cores.h"
#include "base/tree.h"
#include "engine/export.h"
#include "engine/plan.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A file beside the exported ones says what the weights have become. */
#define WEIGHTS_FILE "phlox-weights.txt"

enum { MOST_PATH = 4096 };

static phlox_status make(void *user, const char *directory, phlox_error *error)
{
    const px_export_order *const order = user;
    phlox_export_result result;
    char path[MOST_PATH];
    snprintf(path, sizeof path, "%s/" WEIGHTS_FILE, directory);
    PX_TRY(px_export_run(order, directory, &result, error));
    return px_write_file(path, result.weights, strlen(result.weights), error);
}

static void read_weights(px_exported *exported)
{
    char path[MOST_PATH];
    px_map map;
    snprintf(path, sizeof path, "%s/" WEIGHTS_FILE, exported->path);
    if (px_map_open(path, &map, NULL) != PHLOX_OK) return;
    snprintf(exported->weights, sizeof exported->weights, "%.*s", (int)PX_MIN(map.size, (size_t)95),
             map.size ? (const char *)map.data : "");
    px_map_close(&map);
}

/* Whether the options leave the weights what they are. */
static bool asks_stored(const phlox_model_options *o)
{
    return o->weight_format == PHLOX_WEIGHTS_STORED || o->weight_format == PHLOX_WEIGHTS_DEFAULT;
}

static phlox_status use_in_place(const px_checkpoint *checkpoint, px_exported *out,
                                 phlox_error *error)
{
    *out = (px_exported){.path = px_strdup(checkpoint->path, strlen(checkpoint->path)),
                         .from_cache = true};
    if (!out->path) return px_fail_memory(error, strlen(checkpoint->path));
    px_checkpoint_describe(checkpoint, out->weights, sizeof out->weights);
    return PHLOX_OK;
}

static phlox_status make_temporary(px_export_order *order, px_exported *out, phlox_error *error)
{
    PX_TRY(px_make_temporary_directory(&out->path, error));
    out->is_temporary = true;
    const phlox_status status = make(order, out->path, error);
    if (status != PHLOX_OK) px_exported_close(out);
    return status;
}

/* What the files depend on beside the checkpoint: what every matrix becomes, and the words. The version makes
 * them anew when phlox itself writes others. */
static phlox_status name_variant(const px_export_order *order, px_plan *plan, char *out, size_t size,
                                 phlox_error *error)
{
    px_pool *pool = NULL;
    PX_TRY(px_pool_create(order->options->threads ? order->options->threads : px_core_count(), &pool, error));
    const phlox_status status =
        px_plan_make(order->checkpoint, order->options, pool, plan, error);
    px_pool_free(pool);
    if (status == PHLOX_OK)
        snprintf(out, size, "%s for a device 1, %s, provider %d, accuracy %d, loss %d", order->form->name,
                 plan->variant, (int)order->words->provider, (int)order->words->accuracy_level,
                 (int)order->words->accept_loss);
    return status;
}

static phlox_status find_or_make(px_export_order *order, const char *cache_dir, px_exported *out,
                                 phlox_error *error)
{
    const px_checkpoint *const checkpoint = order->checkpoint;
    px_plan plan = {0};
    char variant[256];
    PX_TRY(name_variant(order, &plan, variant, sizeof variant, error));
    const char *const path = checkpoint->path[0] ? checkpoint->path : NULL;
    char *const source = path ? px_real_path(path) : px_strdup("built-in", strlen("built-in"));
    const px_cache_key key = {"export", source, checkpoint->state, variant};
    const phlox_status status =
        source ? px_cache_tree_open(cache_dir, order->options->cache_limit, &key, px_plan_bytes(&plan),
                                    make, order, &out->path, &out->from_cache, error)
               : px_fail_memory(error, strlen(checkpoint->path));
    free(source);
    px_plan_free(&plan);
    return status;
}

phlox_status px_exported_open(const px_checkpoint *checkpoint, const char *form,
                              const phlox_model_options *options, const phlox_export_options *words,
                              const char *cache_dir, px_exported *out, phlox_error *error)
{
    *out = (px_exported){.path = NULL};
    if (strcmp(checkpoint->form, form) == 0 && asks_stored(options) && words->accuracy_level < 0)
        return use_in_place(checkpoint, out, error);
    px_export_order order = {.checkpoint = checkpoint, .form = px_form_by_name(form), .options = options,
                             .words = words, .for_device = true, .into = true};
    PX_TRY(cache_dir ? find_or_make(&order, cache_dir, out, error)
                     : make_temporary(&order, out, error));
    read_weights(out);
    return PHLOX_OK;
}

void px_exported_close(px_exported *exported)
{
    if (exported->is_temporary && exported->path) px_remove_tree(exported->path, NULL);
    free(exported->path);
    *exported = (px_exported){.path = NULL};
}

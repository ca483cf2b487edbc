#include "base/cache_parts.h"
#include "base/tree.h"

#include <stdlib.h>
#include <string.h>

char *px_cache_mark_of(const char *tree)
{
    return px_cache_join(tree, strrchr(tree, '/') + 1);
}

/* Its section: bytes of the other files where they are those of the beginning, 0 where they grow. */
static phlox_status write_mark(const char *directory, const px_cache_key *key, bool grows,
                               phlox_error *error)
{
    const uint64_t bytes = grows ? 0 : px_tree_bytes(directory);
    px_cache_section section = {.name = "bytes", .size = sizeof bytes};
    px_cache_writer *writer = NULL;
    PX_TRY(px_cache_create(directory, UINT64_MAX, key, &section, 1, &writer, error));
    const phlox_status status = px_cache_write(writer, 0, 0, &bytes, sizeof bytes, error);
    if (status == PHLOX_OK) return px_cache_commit(writer, error);
    px_cache_abandon(writer);
    return status;
}

bool px_cache_is_whole(const char *tree, const px_cache_file *mark)
{
    uint64_t bytes;
    if (mark->count != 1 || mark->sections[0].size != sizeof bytes) return false;
    memcpy(&bytes, px_cache_data(mark, 0), sizeof bytes);
    return !bytes || px_tree_bytes(tree) == bytes + mark->map.size;
}

static bool is_current(const char *path, const px_cache_key *key)
{
    px_cache_file mark;
    if (px_cache_open(path, key, NULL, NULL, &mark, NULL) != PHLOX_OK) return false;
    const bool whole = px_cache_is_whole(path, &mark);
    px_cache_close(&mark);
    return whole;
}

static phlox_status make_tree(const char *path, const px_cache_key *key, px_cache_fill_fn *fill,
                              void *user, phlox_error *error)
{
    px_out_directory made;
    PX_TRY(px_out_directory_open(&made, path, error));
    phlox_status status = fill ? fill(user, made.temporary, error) : PHLOX_OK;
    if (status == PHLOX_OK) status = write_mark(made.temporary, key, !fill, error);
    if (status == PHLOX_OK) return px_out_directory_commit(&made, error);
    px_out_directory_abandon(&made);
    return status;
}

phlox_status px_cache_tree_open(const char *directory, uint64_t limit, const px_cache_key *key,
                                uint64_t bytes, px_cache_fill_fn *fill, void *user, char **path,
                                bool *was_there, phlox_error *error)
{
    char *const tree = px_cache_path(directory, key);
    if (!tree) return px_fail_memory(error, strlen(directory));
    bool is_there = is_current(tree, key);
    if (was_there) *was_there = is_there;
    phlox_status status = PHLOX_OK;
    if (!is_there) {
        status = px_make_directories(directory, error);
        px_out_directory_clean(directory, px_cache_is_partial);
        if (status == PHLOX_OK) status = px_cache_make_room(directory, limit, bytes, key->source, error);
        if (status == PHLOX_OK && px_is_directory(tree) && !is_current(tree, key))
            status = px_remove_tree_at_once(tree, error);
        if (status == PHLOX_OK) status = make_tree(tree, key, fill, user, error);
        /* another process may have been faster */
        if (status != PHLOX_OK && is_current(tree, key)) status = PHLOX_OK;
    }
    if (status == PHLOX_OK) *path = tree;
    else free(tree);
    return status;
}

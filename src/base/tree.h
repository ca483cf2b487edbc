/* Directories with what is in them: made as a whole, listed, measured, removed. tree_posix.c implements it. */
#ifndef PX_BASE_TREE_H
#define PX_BASE_TREE_H

#include "base/os.h"

/* A directory being made under a temporary name beside its final one. */
typedef struct px_out_directory {
    int descriptor; /* locked while the directory is being made */
    char *path, *temporary;
} px_out_directory;

/* Creates a new directory beside `path`; its name ends with PX_OUT_SUFFIX. What killed processes left of earlier
 * attempts is removed. PHLOX_ERROR_ARGUMENT when `path` exists and is not an empty directory. */
phlox_status px_out_directory_open(px_out_directory *directory, const char *path,
                                   phlox_error *error);
/* Gives the directory its name. After failure the temporary directory is gone. */
phlox_status px_out_directory_commit(px_out_directory *directory, phlox_error *error);
/* Removes the temporary directory and what is in it; harmless after commit. */
void px_out_directory_abandon(px_out_directory *directory);

/* Removes what killed processes left of making directories in `parent`; of names that is_ours accepts (NULL: all). */
void px_out_directory_clean(const char *parent, bool (*is_ours)(const char *name));

/* A new empty directory for files that nobody else needs; free(*out) behind px_remove_tree(). */
phlox_status px_make_temporary_directory(char **out, phlox_error *error);

/* Calls visit with the name of each directory in `path`, in no order; a missing directory has none. The first
 * status other than PHLOX_OK ends the walk and is returned. Links are not followed. */
phlox_status px_list_directories(const char *path,
                                 phlox_status (*visit)(void *user, const char *name, phlox_error *error),
                                 void *user, phlox_error *error);
/* Bytes of the files below `path`. */
uint64_t px_tree_bytes(const char *path);
/* Removes a directory with everything in it, without following links. */
phlox_status px_remove_tree(const char *path, phlox_error *error);
/* Likewise, but so that nothing has its name as soon as something is missing. */
phlox_status px_remove_tree_at_once(const char *path, phlox_error *error);

#endif

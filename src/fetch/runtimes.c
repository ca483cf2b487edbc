#include "fetch/runtimes.h"

#include "base/os.h"
#include "fetch/version.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

char *px_runtime_folder(void)
{
    char *const home = px_data_home();
    const size_t size = home ? strlen(home) + 16 : 0;
    char *const path = home ? malloc(size) : NULL;
    if (path) snprintf(path, size, "%s/runtimes", home);
    free(home);
    return path;
}

struct newest {
    const char *name, *version; /* wanted; version NULL: any */
    char *directory;
};

/* Places come newest first. */
static bool take_newest(void *user, const px_runtime_place *place)
{
    struct newest *const newest = user;
    if (strcmp(place->package, newest->name) != 0 ||
        (newest->version && px_version_order(place->version, newest->version) != 0))
        return true;
    newest->directory = px_strdup(place->library, (size_t)(strrchr(place->library, '/') - place->library));
    return false;
}

phlox_status px_runtime_fail_absent(const char *name, const char *version, phlox_error *error)
{
    char *const own = px_runtime_folder();
    const phlox_status status =
        own ? px_fail(error, PHLOX_ERROR_NOT_FOUND, "%s%s%s is not in %s; phlox runtime add %s%s%s installs it",
                      name, version ? " " : "", version ? version : "", own, name, version ? "==" : "",
                      version ? version : "")
            : px_fail(error, PHLOX_ERROR_NOT_FOUND,
                      "neither HOME nor XDG_DATA_HOME is set, so there is no folder of runtimes");
    free(own);
    return status;
}

phlox_status px_runtime_directory(const char *name, const char *version, char **out, phlox_error *error)
{
    char *const own = px_runtime_folder();
    if (!own) return px_runtime_fail_absent(name, version, error);
    const px_runtime_roots roots = {.own = own};
    struct newest newest = {.name = name, .version = version};
    const char *const kind = strncmp(name, "onnxruntime-genai-", 18) == 0 ? "onnxruntime-genai" : name;
    phlox_status status =
        px_runtime_find_in(&roots, kind, NULL, take_newest, &newest, NULL, error);
    free(own);
    if (status == PHLOX_OK && !newest.directory) status = px_runtime_fail_absent(name, version, error);
    if (status == PHLOX_OK) *out = newest.directory;
    return status;
}

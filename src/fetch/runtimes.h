/*
 * The runtimes of others that phlox can drive: what they are, where they are on this machine, and how to
 * get and remove them.
 *
 * A runtime is "openvino" or "onnxruntime-genai" (with the ONNX Runtime that it needs), the latter also
 * as "onnxruntime-genai-cuda". What phlox has fetched lies in NAME/VERSION/ of the folder of runtimes:
 * the libraries, all beside each other, their licences and a manifest.
 */
#ifndef PX_FETCH_RUNTIMES_H
#define PX_FETCH_RUNTIMES_H

#include "base/error.h"

/* ---- finding ------------------------------------------------------------------------------- */

typedef enum px_runtime_origin { /* in order of preference */
    PX_RUNTIME_GIVEN,         /* named by the user */
    PX_RUNTIME_OWN,           /* phlox's folder */
    PX_RUNTIME_ENVIRONMENT,   /* the active Python environment */
    PX_RUNTIME_SYSTEM,        /* the directories of the system's libraries */
    PX_RUNTIME_INTEL,         /* /opt/intel */
    PX_RUNTIME_USER_PYTHON,   /* packages of the user's Python */
    PX_RUNTIME_SYSTEM_PYTHON  /* packages of the system's Python */
} px_runtime_origin;

/* Some words: "phlox's folder", "active Python environment", "/opt/intel". */
const char *px_runtime_origin_name(px_runtime_origin origin);

/* One installed runtime. Strings live as long as the call of the visitor. */
typedef struct px_runtime_place {
    px_runtime_origin origin;
    const char *library;  /* path of libopenvino_c.so* or libonnxruntime-genai.so */
    const char *onnxruntime; /* path of the libonnxruntime.so* that goes with it, to be opened before it;
                                NULL for openvino, and when there is none beside it */
    const char *package;  /* "openvino", "onnxruntime-genai-cuda"; "" when nothing tells */
    const char *version;  /* "2026.4.1"; "" when nothing tells */
    const char *onnxruntime_version; /* likewise; "" for openvino */
} px_runtime_place;

/* Return false to end the search. */
typedef bool px_runtime_fn(void *user, const px_runtime_place *place);

/*
 * Gives `visit` every installed runtime `name` ("openvino" or "onnxruntime-genai", which includes its
 * variants), the preferred one first; the newest version first within an origin. Nothing is opened. With
 * `directory` only there: the folder of the libraries, of an OpenVINO archive or installation, of a
 * Python environment or its site-packages, or the library itself.
 *
 * No place is no error: *found (may be NULL) counts those that were visited. PHLOX_ERROR_NOT_FOUND for
 * another name.
 */
phlox_status px_runtime_find(const char *name, const char *directory, px_runtime_fn *visit, void *user,
                             size_t *found, phlox_error *error);

/* Where px_runtime_find() looks; for tests. */
typedef struct px_runtime_roots {
    const char *own;         /* phlox's folder of runtimes */
    const char *environment; /* the active Python environment; NULL: none */
    const char *home;        /* the user's directory; NULL: unknown */
    const char *system;      /* in front of /usr, /opt: "" */
} px_runtime_roots;

phlox_status px_runtime_find_in(const px_runtime_roots *roots, const char *name, const char *directory,
                                px_runtime_fn *visit, void *user, size_t *found, phlox_error *error);

/* ---- phlox's own folder -------------------------------------------------------------------- */

#define PX_RUNTIME_MANIFEST "runtime.json" /* in the directory of a runtime */

/* The folder of runtimes: $XDG_DATA_HOME/phlox/runtimes or ~/.local/share/phlox/runtimes; free() it.
 * NULL when neither variable is set, or without memory. */
char *px_runtime_folder(void);

/* The directory of the runtime `name` in that folder: of `version`, or of the newest when NULL; free()
 * it. PHLOX_ERROR_NOT_FOUND, with the command that installs it, when there is none. */
phlox_status px_runtime_directory(const char *name, const char *version, char **out, phlox_error *error);

/* Says that this runtime (`version` NULL: any of it) is not in phlox's folder: PHLOX_ERROR_NOT_FOUND. */
phlox_status px_runtime_fail_absent(const char *name, const char *version, phlox_error *error);

/* ---- getting and removing ------------------------------------------------------------------ */

#define PX_RUNTIME_INDEX "https://pypi.org/simple"

typedef struct px_runtime_request {
    const char *name;      /* "openvino", or with a version: "openvino==2026.4.1" */
    const char *version;   /* NULL: the newest */
    const char *index_url; /* NULL: $PIP_INDEX_URL, or PX_RUNTIME_INDEX */
    bool offline;          /* only an index of files is read */
    phlox_progress_fn *progress; /* may be NULL */
    void *progress_user;
} px_runtime_request;

typedef struct px_runtime_result {
    char version[64];
    char directory[1024];
    uint64_t downloaded, installed; /* bytes; 0 and those there when it was there already */
    bool was_there;
} px_runtime_result;

/*
 * Fetches the wheels of a runtime from a Python package index, checks their SHA-256, and unpacks the
 * libraries and licences into NAME/VERSION/ of phlox's folder, which appears when it is complete. Nothing
 * is executed. Where that version is there already nothing is fetched but the page that says which is the
 * newest; a directory that is there but lacks the library or the manifest is replaced.
 */
phlox_status px_runtime_add(const px_runtime_request *request, px_runtime_result *out,
                            phlox_error *error);

/* Removes the version of "NAME==VERSION", or every one of "NAME", damaged ones too; *removed counts them.
 * PHLOX_ERROR_NOT_FOUND when there is none. */
phlox_status px_runtime_remove(const char *name, size_t *removed, phlox_error *error);

#endif

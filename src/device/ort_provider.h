/* The execution providers of ONNX Runtime GenAI: their names, what they report, what brings them. */
#ifndef PX_DEVICE_ORT_PROVIDER_H
#define PX_DEVICE_ORT_PROVIDER_H

#include "checkpoint/checkpoint.h"
#include "device/ort_api.h"

#include <phlox/tools.h>

typedef struct px_ort_provider {
    const char *name;        /* as the runtime's configuration has it; "cpu" is the one of an empty list */
    const char *device_type; /* what OgaModelGetDeviceType() says when it runs; NULL: no type of its own */
    phlox_provider graph;    /* whose graph it runs */
    px_unit_kind kind;
    const char *advice;      /* how one gets it */
} px_ort_provider;

/* The provider of a unit, in any case of letters; one that is not known has no device type. `unit` must
 * outlive *out. */
void px_ort_provider_of(const char *unit, px_ort_provider *out);
bool px_ort_is_cpu(const px_ort_provider *provider);

/* Fails for options of the user that the provider has no use for, where they name it: one that is chosen or tried
 * may be given what is for others. `device`: "ort:cuda"; `kv_bytes`: of a number of keys and values; 0: not known yet. */
phlox_status px_ort_check_options(const phlox_model_options *user, const char *device, size_t kv_bytes,
                                  phlox_error *error);

/* Fails for weights that a graph exported with `words` does not hold. */
phlox_status px_ort_check_weights(const px_checkpoint *checkpoint, const phlox_model_options *user,
                                  const phlox_export_options *words, const char *device, phlox_error *error);

/* Options of the session, and not of its provider, have names that begin with "session.". */
bool px_ort_is_of_session(const char *key);
/* "KEY=VALUE" of the user split; false without a key. */
bool px_ort_setting(const char *setting, char *key, size_t size, const char **value);

/* Puts the provider and the user's options for it into a configuration: alone in the list of providers, which
 * for the CPU is empty. */
phlox_status px_ort_provider_set(const px_ort_api *api, OgaConfig *config, const px_ort_provider *provider,
                                 const phlox_model_options *user, phlox_error *error);

/* What the runtime says that the model runs on must be what was asked for: it takes the CPU without a word. */
phlox_status px_ort_provider_check(const px_ort_api *api, const OgaModel *model,
                                   const px_ort_provider *provider, phlox_error *error);

/* The provider whose build shows most on the machine below `root` ("": this one): "cuda" where there is a GPU of
 * NVIDIA, else "cpu". */
const char *px_ort_provider_of_machine(const char *root);

/* The units that the build can drive there. */
void px_ort_provider_list(const px_ort_api *api, const char *root, px_units *out);

#endif

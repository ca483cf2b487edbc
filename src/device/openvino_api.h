/*
 * OpenVINO's C interface (openvino/c/openvino.h, 2023.0 to 2026.4), opened at run time. Only what the
 * device needs is declared; names and layouts are those of the headers. The numbers of element types
 * are not: they moved between versions, and are read from the ports of a model.
 */
#ifndef PX_DEVICE_OPENVINO_API_H
#define PX_DEVICE_OPENVINO_API_H

#include "base/os.h"

typedef struct ov_core ov_core_t;
typedef struct ov_model ov_model_t;
typedef struct ov_compiled_model ov_compiled_model_t;
typedef struct ov_infer_request ov_infer_request_t;
typedef struct ov_tensor ov_tensor_t;
typedef struct ov_output_const_port ov_output_const_port_t;
typedef int ov_status_e; /* 0: done */
typedef int ov_element_type_e;
typedef struct { int64_t rank, *dims; } ov_shape_t;
typedef struct { const char *key; const void *value; } ov_property_t;
typedef struct { char **devices; size_t size; } ov_available_devices_t;
typedef struct { const char *build_number, *description; } ov_version_t;

/* The functions that every version has, by their names behind "ov_". */
#define PX_OPENVINO_FUNCTIONS(F) \
    F(ov_status_e, get_openvino_version, (ov_version_t *)) \
    F(void, version_free, (ov_version_t *)) \
    F(const char *, get_last_err_msg, (void)) \
    F(void, free, (const char *)) \
    F(ov_status_e, core_create, (ov_core_t **)) \
    F(void, core_free, (ov_core_t *)) \
    F(ov_status_e, core_get_available_devices, (const ov_core_t *, ov_available_devices_t *)) \
    F(void, available_devices_free, (ov_available_devices_t *)) \
    F(ov_status_e, core_get_property, (const ov_core_t *, const char *, const char *, char **)) \
    F(ov_status_e, core_set_property, (const ov_core_t *, const char *, ...)) \
    F(ov_status_e, core_read_model, \
      (const ov_core_t *, const char *, const char *, ov_model_t **)) \
    F(ov_status_e, model_const_input_by_name, \
      (const ov_model_t *, const char *, ov_output_const_port_t **)) \
    F(void, model_free, (ov_model_t *)) \
    F(ov_status_e, port_get_element_type, (const ov_output_const_port_t *, ov_element_type_e *)) \
    F(void, output_const_port_free, (ov_output_const_port_t *)) \
    F(ov_status_e, compiled_model_create_infer_request, \
      (const ov_compiled_model_t *, ov_infer_request_t **)) \
    F(ov_status_e, compiled_model_get_property, \
      (const ov_compiled_model_t *, const char *, char **)) \
    F(void, compiled_model_free, (ov_compiled_model_t *)) \
    F(ov_status_e, infer_request_set_tensor, \
      (ov_infer_request_t *, const char *, const ov_tensor_t *)) \
    F(ov_status_e, infer_request_get_tensor, \
      (const ov_infer_request_t *, const char *, ov_tensor_t **)) \
    F(ov_status_e, infer_request_infer, (ov_infer_request_t *)) \
    F(void, infer_request_free, (ov_infer_request_t *)) \
    F(ov_status_e, tensor_create_from_host_ptr, \
      (ov_element_type_e, ov_shape_t, void *, ov_tensor_t **)) \
    F(ov_status_e, tensor_get_size, (const ov_tensor_t *, size_t *)) \
    F(ov_status_e, tensor_get_byte_size, (const ov_tensor_t *, size_t *)) \
    F(ov_status_e, tensor_data, (const ov_tensor_t *, void **)) \
    F(void, tensor_free, (ov_tensor_t *))

enum { PX_OPENVINO_MOST_PROPERTIES = 64 };

typedef struct px_openvino_api {
    char path[1024];  /* of the library */
    char version[96]; /* "2026.4.1-22982-e213a147257-releases/2026/4" */
    int year, release; /* 2026, 4 */
#define PX_OPENVINO_MEMBER(type, name, arguments) type(*name) arguments;
    PX_OPENVINO_FUNCTIONS(PX_OPENVINO_MEMBER)
#undef PX_OPENVINO_MEMBER
    /* Takes a list of properties; NULL where there is only the older call, which takes the texts of the
     * properties behind its arguments and their number, two for each. */
    ov_status_e (*core_compile_model_props)(const ov_core_t *, const ov_model_t *, const char *,
                                            size_t, const ov_property_t *, ov_compiled_model_t **);
    ov_status_e (*core_compile_model)(const ov_core_t *, const ov_model_t *, const char *, size_t,
                                      ov_compiled_model_t **, ...);
} px_openvino_api;

/* Opens the library. PHLOX_ERROR_NOT_FOUND when `path` is not there, PHLOX_ERROR_DEVICE when the
 * library does not work, lacks a function or is older than 2023.0. There is no closing: its threads do not
 * end before the process. */
phlox_status px_openvino_api_open(const char *path, px_openvino_api *out, phlox_error *error);

/* Fails with PHLOX_ERROR_DEVICE and what the library said of its last call in this thread. */
phlox_status px_openvino_fail(const px_openvino_api *api, phlox_error *error, const char *format, ...)
    PX_PRINTF(3, 4);

/* Compiles with either form of the call. `properties` has room for PX_OPENVINO_MOST_PROPERTIES. */
phlox_status px_openvino_compile(const px_openvino_api *api, const ov_core_t *core,
                                 const ov_model_t *model, const char *unit,
                                 const ov_property_t *properties, size_t count,
                                 ov_compiled_model_t **out, phlox_error *error);

/* The number that this version gives to the element type of a model's input. */
phlox_status px_openvino_input_type(const px_openvino_api *api, const ov_model_t *model,
                                    const char *input, ov_element_type_e *out, phlox_error *error);

/* A property of a unit as text; false, and "", when it has none. */
bool px_openvino_property(const px_openvino_api *api, const ov_core_t *core, const char *unit,
                          const char *key, char *out, size_t size);

#endif

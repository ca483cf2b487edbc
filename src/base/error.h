/* The error idiom: a function that can fail returns a phlox_status and describes the failure in a
 * phlox_error that may be NULL. Debug builds keep the way up in error->trace. */
#ifndef PX_BASE_ERROR_H
#define PX_BASE_ERROR_H

#include <phlox/phlox.h>

#if defined(__GNUC__)
#define PX_PRINTF(text, first) __attribute__((format(printf, text, first)))
#else
#define PX_PRINTF(text, first)
#endif

/* Writes the message and returns `code`. A message longer than the field ends in "...". */
phlox_status px_error_set(phlox_error *error, const char *file, int line, phlox_status code,
                          const char *format, ...) PX_PRINTF(5, 6);

/* Adds a step of the way up to the trace (debug builds) and returns `status`. */
phlox_status px_error_pass(phlox_error *error, const char *file, int line, phlox_status status);

/* Puts "prefix: " in front of the message, e.g. the file that a parser of bytes does not know. */
phlox_status px_error_prefix(phlox_error *error, phlox_status status, const char *format, ...)
    PX_PRINTF(3, 4);

/* Puts `advice` behind the message. */
phlox_status px_error_advise(phlox_error *error, phlox_status status, const char *advice);

#define px_fail(error, code, ...) px_error_set(error, __FILE__, __LINE__, code, __VA_ARGS__)
#define px_fail_memory(error, bytes)                                                             \
    px_fail(error, PHLOX_ERROR_MEMORY,                                                           \
            "no memory for %llu bytes; close other programs or use a smaller model or context",  \
            (unsigned long long)(bytes))

#ifdef NDEBUG
#define PX_TRY(call)                                                                             \
    do {                                                                                         \
        const phlox_status px_try_status = (call);                                               \
        if (px_try_status != PHLOX_OK) return px_try_status;                                     \
    } while (0)
#else
#define PX_TRY(call)                                                                             \
    do {                                                                                         \
        const phlox_status px_try_status = (call);                                               \
        if (px_try_status != PHLOX_OK)                                                           \
            return px_error_pass(error, __FILE__, __LINE__, px_try_status);                      \
    } while (0)
#endif

#endif

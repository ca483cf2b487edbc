#include "base/error.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

const char *phlox_status_name(phlox_status status)
{
    switch (status) {
    case PHLOX_OK: return "ok";
    case PHLOX_ERROR_ARGUMENT: return "argument";
    case PHLOX_ERROR_MEMORY: return "memory";
    case PHLOX_ERROR_IO: return "io";
    case PHLOX_ERROR_NOT_FOUND: return "not-found";
    case PHLOX_ERROR_FORMAT: return "format";
    case PHLOX_ERROR_UNSUPPORTED: return "unsupported";
    case PHLOX_ERROR_CONTEXT_FULL: return "context-full";
    case PHLOX_ERROR_CANCELLED: return "cancelled";
    case PHLOX_ERROR_DEVICE: return "device";
    case PHLOX_ERROR_INTERNAL: return "internal";
    }
    return "unknown";
}

static void trace_add(phlox_error *error, const char *file, int line)
{
#ifndef NDEBUG
    const size_t used = strlen(error->trace);
    const char *name = strrchr(file, '/');
    snprintf(error->trace + used, sizeof error->trace - used, "%s%s:%d", used ? " < " : "",
             name ? name + 1 : file, line);
#else
    (void)error, (void)file, (void)line;
#endif
}

static void end_with_dots(char *message, size_t size, int wanted)
{
    if (wanted >= (int)size) memcpy(message + size - 4, "...", 4);
}

phlox_status px_error_set(phlox_error *error, const char *file, int line, phlox_status code,
                          const char *format, ...)
{
    if (!error) return code;
    error->code = code;
    error->trace[0] = 0;
    va_list arguments;
    va_start(arguments, format);
    const int wanted = vsnprintf(error->message, sizeof error->message, format, arguments);
    va_end(arguments);
    end_with_dots(error->message, sizeof error->message, wanted);
    trace_add(error, file, line);
    return code;
}

phlox_status px_error_pass(phlox_error *error, const char *file, int line, phlox_status status)
{
    if (error) trace_add(error, file, line);
    return status;
}

phlox_status px_error_prefix(phlox_error *error, phlox_status status, const char *format, ...)
{
    if (!error || status == PHLOX_OK) return status;
    char prefix[512], message[sizeof error->message];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(prefix, sizeof prefix, format, arguments);
    va_end(arguments);
    memcpy(message, error->message, sizeof message);
    const int wanted =
        snprintf(error->message, sizeof error->message, "%s: %s", prefix, message);
    end_with_dots(error->message, sizeof error->message, wanted);
    return status;
}

phlox_status px_error_advise(phlox_error *error, phlox_status status, const char *advice)
{
    if (!error || status == PHLOX_OK) return status;
    const size_t used = strlen(error->message), room = sizeof error->message - used;
    const int wanted = snprintf(error->message + used, room, "; %s", advice);
    end_with_dots(error->message, sizeof error->message, (int)used + wanted);
    return status;
}

/* JSON. A document that jansson reads as it stands must give the same value through px_json_parse:
 * what is changed on the way are only tokens that JSON does not have, and integers of 19 digits and
 * more. */
#include "base/json.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool has_long_number(const uint8_t *data, size_t size)
{
    size_t digits = 0;
    for (size_t i = 0; i < size; i++) {
        digits = data[i] >= '0' && data[i] <= '9' ? digits + 1 : 0;
        if (digits > 18) return true;
    }
    return false;
}

static int depth_of(const uint8_t *data, size_t size)
{
    int depth = 0, most = 0;
    for (size_t i = 0; i < size; i++) {
        depth += data[i] == '[' || data[i] == '{';
        most = depth > most ? depth : most;
    }
    return most;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    json_t *json = NULL;
    phlox_error error = {0};
    const phlox_text text = {(const char *)data, size};
    const phlox_status status = px_json_parse(text, "fuzz", true, &json, &error);
    if (status != PHLOX_OK && (status != PHLOX_ERROR_FORMAT || !error.message[0] || json)) abort();
    json_t *const plain = size ? json_loadb((const char *)data, size,
                                            JSON_ALLOW_NUL | JSON_DECODE_ANY | JSON_REJECT_DUPLICATES,
                                            NULL)
                               : NULL;
    if (plain && depth_of(data, size) <= 100 && !has_long_number(data, size) &&
        !memchr(data, 0, size) && (status != PHLOX_OK || !json_equal(json, plain)))
        abort();
    json_decref(plain);
    json_decref(json);

    if (status != PHLOX_OK || px_json_parse(text, "fuzz", false, &json, NULL) != PHLOX_OK) return 0;
    int64_t integer;
    double real;
    bool flag;
    if (px_json_int(json, "a", "fuzz", -5, 1000, &integer, NULL) == PHLOX_OK &&
        (integer < -5 || integer > 1000))
        abort();
    if (px_json_real_or(json, "a", "fuzz", -1, 1, 0, &real, NULL) == PHLOX_OK &&
        !(real >= -1 && real <= 1))
        abort();
    px_json_bool_or(json, "a", "fuzz", false, &flag, NULL);
    json_decref(json);
    return 0;
}

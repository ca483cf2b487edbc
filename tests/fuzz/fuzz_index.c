/* Pages of a package index, and the choice of a wheel from them. */
#include "fetch/index.h"

#include <stddef.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const px_platform platform = {"x86_64", 2, 36};
    px_index index;
    phlox_error error;
    if (px_index_read((phlox_text){(const char *)data, size}, "page", &index, &error) != PHLOX_OK)
        return 0;
    px_wheel_choice choice;
    px_index_choose(&index, "openvino", NULL, "", &platform, &choice, &error);
    px_index_choose(&index, "openvino", NULL, ">=1.31.0, !=1.32.*", &platform, &choice, &error);
    px_index_choose(&index, "openvino", "2026.4.1", "", &platform, &choice, &error);
    px_index_free(&index);
    return 0;
}

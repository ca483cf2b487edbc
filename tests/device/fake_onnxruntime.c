/* What phlox asks ONNX Runtime itself: its version. */
#include <stdint.h>

typedef struct OrtApiBase {
    const void *(*GetApi)(uint32_t version);
    const char *(*GetVersionString)(void);
} OrtApiBase;

static const void *get_api(uint32_t version)
{
    (void)version;
    return 0;
}

static const char *get_version(void)
{
    return "1.99.0";
}

__attribute__((visibility("default"))) const OrtApiBase *OrtGetApiBase(void);

const OrtApiBase *OrtGetApiBase(void)
{
    static const OrtApiBase base = {get_api, get_version};
    return &base;
}

/* config.json and generation_config.json of a Phi3ForCausalLM checkpoint, as every form that derives
 * from Hugging Face carries them. */
#ifndef PX_CHECKPOINT_CONFIG_H
#define PX_CHECKPOINT_CONFIG_H

#include "model/model.h"

/* Fills and checks a descriptor; the caller frees it. `generation` may be empty. Names are for
 * messages. */
phlox_status px_config_parse(phlox_text config, const char *config_name, phlox_text generation,
                             const char *generation_name, px_desc *out, phlox_error *error);

/* A config.json that says the same, for forms that carry none. */
phlox_status px_config_write(const px_desc *desc, px_buffer *out, phlox_error *error);

#endif

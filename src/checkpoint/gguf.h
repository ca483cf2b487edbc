/* GGUF files of the phi3 architecture, as llama.cpp's converter writes them; see checkpoint.h. */
#ifndef PX_CHECKPOINT_GGUF_H
#define PX_CHECKPOINT_GGUF_H

#include "checkpoint/export.h"

extern const px_form px_form_gguf;

/* A tensor's name in the file, behind "blk.7." where it is one of a layer's: "attn_qkv.weight". */
const char *px_gguf_role_name(px_role role);

/* gguf_write.c */
phlox_status px_gguf_write(px_export *job, phlox_error *error);
void px_gguf_choose(const px_export *job, phlox_model_options *options);
bool px_gguf_holds(const px_export *job, px_export_item *item);
void px_gguf_nearest(const px_export *job, px_export_item *item, int bits);

#endif

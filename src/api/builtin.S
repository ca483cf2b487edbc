/* The files of models/demo/hf, and known.bin beside it, as bytes of the library; builtin.h is the C face. The assembler finds
 * them through the include path. A file that the model lacks becomes an empty one. */

.macro begin name
    .balign 64
    .globl \name
    .hidden \name
    .type \name, %object
\name:
.endm

.macro end name, last
    .globl \last
    .hidden \last
    .type \last, %object
\last:
    .byte 0
    .size \name, \last - \name
.endm

    .section .rodata, "a", %progbits

begin px_builtin_config_json
    .incbin "config.json"
end px_builtin_config_json, px_builtin_config_json_end

begin px_builtin_generation_config_json
#ifdef PX_HAS_generation_config_json
    .incbin "generation_config.json"
#endif
end px_builtin_generation_config_json, px_builtin_generation_config_json_end

begin px_builtin_model_safetensors
    .incbin "model.safetensors"
end px_builtin_model_safetensors, px_builtin_model_safetensors_end

begin px_builtin_tokenizer_json
    .incbin "tokenizer.json"
end px_builtin_tokenizer_json, px_builtin_tokenizer_json_end

begin px_builtin_tokenizer_config_json
#ifdef PX_HAS_tokenizer_config_json
    .incbin "tokenizer_config.json"
#endif
end px_builtin_tokenizer_config_json, px_builtin_tokenizer_config_json_end

begin px_builtin_special_tokens_map_json
#ifdef PX_HAS_special_tokens_map_json
    .incbin "special_tokens_map.json"
#endif
end px_builtin_special_tokens_map_json, px_builtin_special_tokens_map_json_end

begin px_builtin_chat_template_jinja
#ifdef PX_HAS_chat_template_jinja
    .incbin "chat_template.jinja"
#endif
end px_builtin_chat_template_jinja, px_builtin_chat_template_jinja_end

begin px_builtin_known
    .incbin "../known.bin"
end px_builtin_known, px_builtin_known_end

    .section .note.GNU-stack, "", %progbits

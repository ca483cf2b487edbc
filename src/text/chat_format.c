/* The chat formats of the family, one for each distinct published template. What transformers
 * renders with those templates is in tests/golden/text/chat.json. */
#include "text/chat_format.h"

/* A turn as most of the family writes it. */
#define TURN(role) {"<|" role "|>\n", "<|end|>\n"}
/* The first templates of Phi-3: the user's turn opens the assistant's. */
#define USER_OPENS {"<|user|>\n", "<|end|>\n<|assistant|>\n"}
#define OPENED {"", "<|end|>\n"}
#define PHI4_TURN(role) {"<|im_start|>" role "<|im_sep|>", "<|im_end|>"}
#define MINI_TURN(role) {"<|" role "|>", "<|end|>"}

/* Pieces of signatures. */
#define EACH "for message in messages "
#define IF(role) "if message role == " role " "
#define ELIF(role) "el" IF(role)
#define CONTENT "message content "
#define ASKED "if add_generation_prompt "
#define ANY_ROLE EACH "<| message role |>\n " CONTENT "<|end|>\n endfor "

const px_chat_format px_chat_formats[] = {
    {
        .name = "phi3", /* Phi-3-mini 4k and 128k since July 2024 */
        .signature = EACH IF("system") "<|system|>\n " CONTENT "<|end|>\n " ELIF("user")
                     "<|user|>\n " CONTENT "<|end|>\n " ELIF("assistant") "<|assistant|>\n "
                     CONTENT "<|end|>\n endif endfor " ASKED "<|assistant|>\n else eos_token endif",
        .roles = {TURN("system"), TURN("user"), TURN("assistant")},
        .opening = "<|assistant|>\n",
        .ending = "<|endoftext|>",
        .generation = PX_GENERATION_ASKED,
    },
    {
        .name = "phi3.5", /* Phi-3.5-mini */
        .signature = EACH IF("system") "and message content <|system|>\n " CONTENT "<|end|>\n "
                     ELIF("user") "<|user|>\n " CONTENT "<|end|>\n " ELIF("assistant")
                     "<|assistant|>\n " CONTENT "<|end|>\n endif endfor " ASKED
                     "<|assistant|>\n else eos_token endif",
        .roles = {TURN("system"), TURN("user"), TURN("assistant")},
        .opening = "<|assistant|>\n",
        .ending = "<|endoftext|>",
        .generation = PX_GENERATION_ASKED,
        .skips_empty_system = true,
    },
    {
        .name = "phi3-medium", /* Phi-3-medium 4k and 128k */
        .signature = EACH IF("user") "<|user|>\n " CONTENT "<|end|>\n<|assistant|>\n "
                     ELIF("assistant") CONTENT "<|end|>\n endif endfor",
        .roles = {[PX_ROLE_USER] = USER_OPENS, [PX_ROLE_ASSISTANT] = OPENED},
        .opening = "",
        .ending = "",
    },
    {
        .name = "phi3-first", /* Phi-3-mini of April 2024 */
        .signature = "bos_token " EACH IF("user") "<|user|>\n " CONTENT
                     "<|end|>\n<|assistant|>\n " ELIF("assistant") CONTENT
                     "<|end|>\n endif endfor",
        .roles = {[PX_ROLE_USER] = USER_OPENS, [PX_ROLE_ASSISTANT] = OPENED},
        .opening = "",
        .ending = "",
        .bos = true,
    },
    {
        .name = "phi3-system", /* Phi-3-mini between those two, with a system turn */
        .signature = "bos_token " EACH IF("system") "<|system|>\n " CONTENT "<|end|>\n "
                     ELIF("user") "<|user|>\n " CONTENT "<|end|>\n<|assistant|>\n "
                     ELIF("assistant") CONTENT "<|end|>\n endif endfor",
        .roles = {TURN("system"), USER_OPENS, OPENED},
        .opening = "",
        .ending = "",
        .bos = true,
    },
    {
        .name = "phi3-small", /* also early revisions of Phi-3-mini-128k */
        .signature = "bos_token " ANY_ROLE ASKED "<|assistant|>\n else eos_token endif",
        .roles = {TURN("system"), TURN("user"), TURN("assistant")},
        .opening = "<|assistant|>\n",
        .ending = "<|endoftext|>",
        .generation = PX_GENERATION_ASKED,
        .bos = true,
    },
    {
        .name = "phi3-vision", /* the text side of Phi-3-vision and Phi-3.5-vision */
        .signature = ANY_ROLE "if add_generation_prompt and messages - 1 role != assistant "
                     "<|assistant|>\n endif",
        .roles = {TURN("system"), TURN("user"), TURN("assistant")},
        .opening = "<|assistant|>\n",
        .ending = "",
        .generation = PX_GENERATION_UNLESS_ASSISTANT,
    },
    {
        .name = "phi4", /* Phi-4 */
        .signature = EACH IF("system") "<|im_start|>system<|im_sep|> " CONTENT "<|im_end|> "
                     ELIF("user") "<|im_start|>user<|im_sep|> " CONTENT "<|im_end|> "
                     ELIF("assistant") "<|im_start|>assistant<|im_sep|> " CONTENT
                     "<|im_end|> endif endfor " ASKED "<|im_start|>assistant<|im_sep|> endif",
        .roles = {PHI4_TURN("system"), PHI4_TURN("user"), PHI4_TURN("assistant")},
        .opening = "<|im_start|>assistant<|im_sep|>",
        .ending = "",
        .generation = PX_GENERATION_ASKED,
    },
    {
        .name = "phi4-first", /* Phi-4 as first published */
        .signature = EACH IF("system") "<|im_start|>system<|im_sep|> " CONTENT "<|im_end|> "
                     ELIF("user") "<|im_start|>user<|im_sep|> " CONTENT
                     "<|im_end|><|im_start|>assistant<|im_sep|> " ELIF("assistant") CONTENT
                     "<|im_end|> endif endfor",
        .roles = {PHI4_TURN("system"),
                  {"<|im_start|>user<|im_sep|>", "<|im_end|><|im_start|>assistant<|im_sep|>"},
                  {"", "<|im_end|>"}},
        .opening = "",
        .ending = "",
    },
    {
        .name = "phi4-mini", /* Phi-4-mini; tools in the system message are not offered */
        .signature = EACH "if message role == system and tools in message and message tools is "
                     "not none <| message role |> " CONTENT
                     "<|tool|> message tools <|/tool|><|end|> else <| message role |> " CONTENT
                     "<|end|> endif endfor " ASKED "<|assistant|> else eos_token endif",
        .roles = {MINI_TURN("system"), MINI_TURN("user"), MINI_TURN("assistant")},
        .opening = "<|assistant|>",
        .ending = "<|endoftext|>",
        .generation = PX_GENERATION_ASKED,
    },
};

const size_t px_chat_format_count = PX_COUNT(px_chat_formats);

const char *const *px_chat_format_names(void)
{
    static const char *const names[] = {"phi3", "phi3.5", "phi3-medium", "phi3-first",
                                        "phi3-system", "phi3-small", "phi3-vision", "phi4",
                                        "phi4-first", "phi4-mini", NULL};
    return names;
}

/* Asks a model one question and streams the answer. Without an argument the built-in model answers.
 *   cc hello.c -o hello $(pkg-config --cflags --libs phlox) && ./hello [MODEL] */
#include <phlox/phlox.h>
#include <stdio.h>

static bool print(void *stream, const phlox_piece *piece)
{
    fwrite(piece->text.data, 1, piece->text.size, stream);
    return fflush(stream) == 0;
}

static phlox_status ask(const char *path, phlox_model **model, phlox_session **session,
                        phlox_error *error)
{
    const phlox_message question = {phlox_text_of("user"), phlox_text_of("What is an NPU?")};
    int32_t ids[512];
    size_t count = 0;
    phlox_status status = phlox_model_open(path, NULL, model, error);
    if (!status) status = phlox_chat_tokenize(*model, &question, 1, true, ids, 512, &count, error);
    if (!status) status = phlox_session_create(*model, session, error);
    if (!status) status = phlox_session_append(*session, ids, count, NULL, NULL, NULL, error);
    if (status) return status;
    phlox_generate_options options;
    phlox_generate_options_init(&options, *model);
    options.max_new_tokens = 200;
    return phlox_session_generate(*session, &options, print, stdout, NULL, error);
}

int main(int count, char **arguments)
{
    phlox_error error;
    phlox_model *model = NULL;
    phlox_session *session = NULL;
    const phlox_status status = ask(count > 1 ? arguments[1] : NULL, &model, &session, &error);
    puts("");
    if (status) fprintf(stderr, "%s\n", error.message);
    phlox_session_close(&session);
    phlox_model_close(&model);
    return status ? 1 : 0;
}

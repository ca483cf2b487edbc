/* Runs a fuzz target on every file of the directories or on the files given as arguments, so that
 * the seeds are tested by compilers without libFuzzer. No input at all is a failure. */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int replay_file(const char *path, size_t size)
{
    FILE *file = fopen(path, "rb");
    /* Exactly as large as the input, so that reading past its end is noticed. */
    uint8_t *data = malloc(size ? size : 1);
    const int ok = file && data && fread(data, 1, size, file) == size;
    if (ok)
        LLVMFuzzerTestOneInput(data, size);
    else
        fprintf(stderr, "cannot read %s\n", path);
    if (file) fclose(file);
    free(data);
    return ok ? 1 : -1;
}

/* Returns the number of inputs, -1 on failure. */
static int replay(const char *path)
{
    struct stat status;
    if (stat(path, &status) != 0) {
        fprintf(stderr, "cannot read %s\n", path);
        return -1;
    }
    if (!S_ISDIR(status.st_mode)) return replay_file(path, (size_t)status.st_size);

    DIR *directory = opendir(path);
    if (!directory) return -1;
    int inputs = 0;
    for (const struct dirent *entry; inputs >= 0 && (entry = readdir(directory));) {
        if (entry->d_name[0] == '.') continue;
        char child[4096];
        snprintf(child, sizeof child, "%s/%s", path, entry->d_name);
        const int more = replay(child);
        inputs = more < 0 ? -1 : inputs + more;
    }
    closedir(directory);
    return inputs;
}

int main(int count, char **arguments)
{
    int inputs = 0;
    for (int i = 1; i < count; i++) {
        const int more = replay(arguments[i]);
        if (more < 0) return 1;
        inputs += more;
    }
    printf("%d inputs\n", inputs);
    return inputs > 0 ? 0 : 1;
}

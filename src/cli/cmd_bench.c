// SPDX-License-Identifier: Apache-2.0
// gamut bench: starts a benchmark program. They are built beside the command, each with options of
// its own.
#include "cli.h"

#include <dirent.h>
#include <errno.h>
#include <string.h>
#include <unistd.h>

enum { PATH_BYTES = 4096 };
static const char prefix[] = "bench_";

static bool own_folder(char folder[PATH_BYTES]) {
    ssize_t length = readlink("/proc/self/exe", folder, PATH_BYTES - 1);
    if (length <= 0) return false;
    folder[length] = '\0';
    char *slash = strrchr(folder, '/');
    if (slash == NULL) return false;
    *slash = '\0';
    return true;
}

// Calls back with the name of each benchmark beside the command.
static int each_bench(const char *folder, void (*visit)(void *context, const char *name),
                      void *context) {
    int count = 0;
    DIR *dir = opendir(folder);
    if (dir == NULL) return 0;
    for (struct dirent *entry = readdir(dir); entry != NULL; entry = readdir(dir)) {
        if (strncmp(entry->d_name, prefix, sizeof prefix - 1) != 0 ||
            strchr(entry->d_name, '.') != NULL)
            continue;
        visit(context, entry->d_name + sizeof prefix - 1);
        count++;
    }
    closedir(dir);
    return count;
}

static void print_name(void *context, const char *name) {
    fprintf(context, " %s", name);
}

static void add_name(void *context, const char *name) {
    json_array_append_new(context, json_string(name));
}

static int list_benches(const char *folder, bool json) {
    if (json) {
        json_t *names = json_array();
        each_bench(folder, add_name, names);
        return gm__json_print(names);
    }
    printf("benchmarks:");
    int count = each_bench(folder, print_name, stdout);
    printf("%s\n", count == 0 ? " none were built beside this command" : "");
    return GM__EXIT_DONE;
}

static int run(const gm__command *self, int argc, char **argv) {
    char folder[PATH_BYTES], path[PATH_BYTES + 64];
    if (argc < 2 ||
        argv[1][0] == '-') { // options of gamut bench itself; those of a benchmark follow its name
        gm__args args;
        int status = gm__args_parse(self, NULL, 0, 0, argc, argv, &args);
        if (status != GM__EXIT_NONE) return status;
        if (!own_folder(folder)) {
            fprintf(stderr, "gamut: cannot tell where this command lies (is /proc mounted?)\n");
            return GM__EXIT_FAILED;
        }
        return list_benches(folder, args.json);
    }
    if (strchr(argv[1], '/') != NULL || !own_folder(folder)) {
        return gm__usage_error(self, "'%s' is not the name of a benchmark", argv[1]);
    }
    snprintf(path, sizeof path, "%s/%s%.40s", folder, prefix, argv[1]);
    argv[1] = path;
    execv(path, argv + 1);
    fprintf(stderr, "gamut: benchmark %s cannot be started: %s; there are:", path, strerror(errno));
    if (each_bench(folder, print_name, stderr) == 0)
        fprintf(stderr, " none (build them: ./run build)");
    fprintf(stderr, "\n");
    return GM__EXIT_FAILED;
}

const gm__command gm__cmd_bench = {
    .name = "bench",
    .arguments = "NAME [OPTIONS OF THE BENCHMARK]",
    .summary = "speed, against a competitor or a limit measured in the same run",
    .detail = "Starts a benchmark that was built beside this command. Without NAME: lists them.",
    .example = "  gamut bench kernels\n  gamut bench train --peer torch",
    .run = run,
};

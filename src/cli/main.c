// SPDX-License-Identifier: Apache-2.0
// gamut: dispatches to one subcommand.
#include "cli.h"

#include <gamut/checkpoint.h>

#include <string.h>

#ifdef __GLIBC__
#include <malloc.h>
#endif

static const gm__command *const commands[] = {
    &gm__cmd_train,
    &gm__cmd_eval,
    &gm__cmd_calibrate,
    &gm__cmd_infer,
    &gm__cmd_profile,
    &gm__cmd_search,
    &gm__cmd_export,
    &gm__cmd_import,
    &gm__cmd_serve,
    &gm__cmd_replay,
    &gm__cmd_simulate,
    &gm__cmd_checkpoint,
    &gm__cmd_report,
    &gm__cmd_info,
    &gm__cmd_space,
    &gm__cmd_count,
    &gm__cmd_data,
    &gm__cmd_bench,
    NULL,
};

static void show_commands(FILE *to) {
    fprintf(to, "usage: gamut COMMAND [ARGUMENTS]\n\n"
                "One weight-shared network, every operating point: train it once, run any of its "
                "subnets.\n\ncommands:\n");
    for (const gm__command *const *c = commands; *c != NULL; c++)
        fprintf(to, "  %-10s %s\n", (*c)->name, (*c)->summary);
    fprintf(to, "\n'gamut COMMAND --help' shows the options of a command and an example.\n"
                "'gamut --version' prints the version.\n");
}

static int dispatch(int argc, char **argv) {
    if (argc < 2) {
        show_commands(stderr);
        return GM__EXIT_USAGE;
    }
    const char *name = argv[1];
    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0 || strcmp(name, "help") == 0) {
        show_commands(stdout);
        return GM__EXIT_DONE;
    }
    if (strcmp(name, "--version") == 0) {
        printf("gamut %s\n", gm_version());
        return GM__EXIT_DONE;
    }
    const char *names[sizeof commands / sizeof *commands] = {0};
    int count = 0;
    for (const gm__command *const *c = commands; *c != NULL; c++) {
        if (strcmp(name, (*c)->name) == 0) return (*c)->run(*c, argc - 1, argv + 1);
        names[count++] = (*c)->name;
    }
    const char *near = gm__nearest(name, names);
    fprintf(stderr, "gamut: unknown command '%s'%s%s%s\n", name, near ? "; did you mean '" : "",
            near ? near : "", near ? "'?" : "");
    fprintf(stderr, "'gamut --help' lists the commands.\n");
    return GM__EXIT_USAGE;
}

// By itself glibc learns from large blocks that were freed to keep blocks of up to 32 MiB for later, in each thread: half a copy of the
// weights of a ResNet-50 stayed with the thread that writes checkpoints.
static void return_large_blocks(void) {
#ifdef __GLIBC__
    mallopt(M_MMAP_THRESHOLD, 4 << 20);
    mallopt(M_TRIM_THRESHOLD, 16 << 20);
#endif
}

int main(int argc, char **argv) {
    return_large_blocks();
    gm_interrupt_install();
    gm_checkpoint_enable_models();
    int status = dispatch(argc, argv);
    // A full disk behind standard output shows up only here.
    if (fflush(stdout) != 0 || ferror(stdout)) {
        fprintf(stderr, "gamut: cannot write to standard output\n");
        if (status == GM__EXIT_DONE) status = GM__EXIT_FAILED;
    }
    gm_scratch_release();
    return status;
}

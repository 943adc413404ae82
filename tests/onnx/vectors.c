// SPDX-License-Identifier: Apache-2.0
// Every published single-operator vector of ONNX whose operator and attributes we have, at every CPU level. How many ran for
// each operator is pinned, so that a vector cannot drop out unseen; what is refused is listed with its reason.
#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "onnx/values.h"

static const char *const roots[] = {"/usr/share/libonnx-testdata/data/node",
                                    "/usr/share/libonnx-testdata/data/pytorch-converted"};

typedef struct tally {
    const char *op;
    int expected, ran;
} tally;
static tally tallies[] = {
    {"Conv", 7, 0},       {"Gemm", 10, 0},        {"MatMul", 1, 0},
    {"MaxPool", 7, 0},    {"AveragePool", 8, 0}, {"GlobalAveragePool", 2, 0},
    {"Relu", 2, 0},       {"Sigmoid", 3, 0},     {"HardSwish", 1, 0},
    {"Softmax", 8, 0},    {"Add", 1, 0},         {"BatchNormalization", 6, 0},
    {"Gather", 3, 0},     {"LayerNormalization", 19, 0},
    {"SoftmaxCrossEntropyLoss", 6, 0},
};

static tally *tally_of(const char *op) {
    for (size_t i = 0; i < sizeof tallies / sizeof tallies[0]; i++)
        if (strcmp(tallies[i].op, op) == 0) return &tallies[i];
    return NULL;
}

static void run_folder(const gm_kernels *k, const char *root, bool verbose) {
    struct dirent **list;
    int count = scandir(root, &list, NULL, alphasort);
    for (int i = 0; i < count; i++) {
        char folder[512];
        vector v;
        snprintf(folder, sizeof folder, "%s/%s", root, list[i]->d_name);
        if (list[i]->d_name[0] != '.' && vector_open(folder, &v)) {
            const char *reason;
            double worst;
            tally *t = tally_of(v.node->op_type);
            if (t && run_operator(k, &v, &reason, &worst)) {
                t->ran++;
                if (!(worst < 1e-5)) fail_msg("%s at level %s: error %g", folder, gm_cpu_level_name(k->level), worst);
            } else if (t && verbose) {
                print_message("not run: %s (%s)\n", list[i]->d_name, reason);
            }
            vector_close(&v);
        }
        free(list[i]);
    }
    if (count >= 0) free(list);
}

static void published_vectors_agree_at_every_level(void **state) {
    (void)state;
    if (!gm_path_is_folder(roots[0])) {
        print_message("skipped: needs libonnx-testdata\n");
        skip();
    }
    for (int level = 0; level <= (int)gm_cpu_detected(); level++) {
        for (size_t i = 0; i < sizeof tallies / sizeof tallies[0]; i++) tallies[i].ran = 0;
        for (int r = 0; r < 2; r++) run_folder(gm_kernels_at((gm_cpu_level)level), roots[r], level == 0);
        for (size_t i = 0; i < sizeof tallies / sizeof tallies[0]; i++)
            if (tallies[i].ran != tallies[i].expected)
                fail_msg("%s: %d vectors ran, expected %d", tallies[i].op, tallies[i].ran, tallies[i].expected);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(published_vectors_agree_at_every_level)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

// SPDX-License-Identifier: Apache-2.0
// checkpoint_table NAME RESTORES LIST.json RUN.jsonl UNDISTURBED.jsonl: one row of the restore protocol's table, from
// `gamut checkpoint list --json` and the logs of the two runs. Ratios are over all checkpoints of the run. NAME "-": the head.
#include <gamut/base.h>

#include <jansson.h>
#include <string.h>

static const char *const choices[] = {"max", "min"};

// Accuracy of the choice on the test set, from the last line that gives it. False: there is none.
static bool test_accuracy(const char *path, const char *choice, double *top1) {
    FILE *f = fopen(path, "r");
    char line[4096];
    bool found = false;
    while (f && fgets(line, sizeof line, f)) {
        json_t *j = json_loads(line, 0, NULL);
        const char *split = json_string_value(json_object_get(j, "split")), *of = json_string_value(json_object_get(j, "choice"));
        if (split && of && strcmp(split, "test") == 0 && strcmp(of, choice) == 0) {
            *top1 = json_number_value(json_object_get(j, "top1"));
            found = true;
        }
        json_decref(j);
    }
    if (f) fclose(f);
    return found;
}

static void accuracy_cells(const char *run, const char *base) {
    for (int i = 0; i < 2; i++) {
        double with, without;
        if (test_accuracy(run, choices[i], &with) && test_accuracy(base, choices[i], &without))
            printf(" %.2f (%+.2f) |", with, with - without);
        else
            printf(" - |");
    }
    printf("\n");
}

int main(int argc, char **argv) {
    if (argc == 2 && strcmp(argv[1], "-") == 0) {
        printf("| run | restores | checkpoints | ratio of weights | ratio of files | evaluations | test accuracy of max, %% "
               "(against undisturbed) | of min |\n|---|---|---|---|---|---|---|---|\n");
        return 0;
    }
    if (argc != 6) {
        fprintf(stderr, "usage: checkpoint_table NAME RESTORES LIST.json RUN.jsonl UNDISTURBED.jsonl\n");
        return 2;
    }
    json_error_t error;
    json_t *list = json_load_file(argv[3], 0, &error), *item;
    double files = 0, images = 0, shares = 0, trials = 0;
    size_t i, n = json_array_size(list);
    json_array_foreach(list, i, item) {
        json_t *quantizer = json_object_get(json_object_get(item, "note"), "quantizer");
        double ratio = json_number_value(json_object_get(item, "ratio_weights"));
        files += json_number_value(json_object_get(item, "bytes"));
        images += json_number_value(json_object_get(item, "image_bytes"));
        shares += ratio > 0 ? 1 / ratio : 1; // all checkpoints have the same weights
        trials += json_number_value(json_object_get(quantizer, "trials"));
    }
    if (n == 0 || files <= 0) {
        fprintf(stderr, "checkpoint_table: %s lists no checkpoints (%s)\n", argv[3], list ? "empty" : error.text);
        json_decref(list);
        return 1;
    }
    printf("| %s | %s | %zu | %.2f | %.2f | %.0f |", argv[1], argv[2], n, (double)n / shares, images / files, trials);
    accuracy_cells(argv[4], argv[5]);
    json_decref(list);
    return 0;
}

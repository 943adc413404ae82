// SPDX-License-Identifier: Apache-2.0
// gamut checkpoint: save, restore, verify, list, inspect, prune.
#include "checkpoint_save.h"

#include <string.h>

enum { PATH_BYTES = 4096 };

double gm__checkpoint_rate(uint64_t bytes, double seconds) {
    return seconds > 0 ? (double)bytes / 1e6 / seconds : 0;
}

json_t *gm__checkpoint_json(const gm_checkpoint_info *i) {
    char identity[GM__TEXT_SHORT];
    snprintf(identity, sizeof identity, "%016llx", (unsigned long long)i->identity);
    json_t *note = i->note[0] != '\0' ? json_loads(i->note, 0, NULL) : NULL;
    return json_pack("{s:I, s:I, s:s, s:I, s:I, s:o, s:o, s:i, s:i, s:i, s:o}", "number", (json_int_t)i->number, "parent",
                     (json_int_t)i->parent, "identity", identity, "bytes", (json_int_t)i->bytes, "image_bytes",
                     (json_int_t)i->image_bytes, "ratio", gm__json_number(gm_checkpoint_ratio(i)), "ratio_weights",
                     gm__json_number(gm_checkpoint_ratio_weights(i)), "tensors", i->tensors, "quantized", i->quantized,
                     "dropped", i->dropped, "note", note != NULL ? note : json_null());
}

gm_status gm__checkpoint_read(const char *from, uint64_t number, uint8_t **image, size_t *bytes, gm_checkpoint_info *info,
                           gm_error *err) {
    return gm_path_is_folder(from) ? gm_checkpoint_load(from, number, image, bytes, info, err)
                                   : gm_checkpoint_file_read(from, image, bytes, info, err);
}

// ---------------------------------------------------------------------------------------------
static int run_restore(const gm__command *self, int argc, char **argv) {
    gm__args args;
    gm_error err = {0};
    const char *out = NULL;
    int number = 0;
    const gm__option options[] = {
        {"out", "FILE", "where to write the safetensors file", GM__OPTION_TEXT, &out, 0, 0},
        {"number", "N", "which of a folder (default: the newest that is whole)", GM__OPTION_INT, &number, 1, 2147483647},
        {0},
    };
    int status = gm__args_parse(self, options, 1, 1, argc, argv, &args);
    if (status != GM__EXIT_NONE) return status;
    if (out == NULL) return gm__usage_error(self, "--out is missing: where to write");
    uint8_t *image = NULL;
    size_t bytes = 0;
    gm_checkpoint_info info;
    double start = gm_now();
    gm_status restored = gm__checkpoint_read(args.positional[0], (uint64_t)number, &image, &bytes, &info, &err);
    double seconds = gm_now() - start;
    if (restored == GM_OK) restored = gm_file_write(out, image, bytes, &err);
    gm_free(image);
    if (restored != GM_OK) return gm__failed(&err);
    if (args.json) {
        json_t *all = gm__checkpoint_json(&info);
        json_object_set_new(all, "seconds", gm__json_number(seconds));
        json_object_set_new(all, "mb_per_s", gm__json_number(gm__checkpoint_rate(bytes, seconds)));
        json_object_set_new(all, "out", json_string(out));
        return gm__json_print(all);
    }
    char text[GM__TEXT_SHORT];
    if (info.number > 0) printf("checkpoint %llu: ", (unsigned long long)info.number);
    printf("%sB to %s, %.0f MB/s%s\n", gm__text_count((double)bytes, text), out, gm__checkpoint_rate(bytes, seconds),
           info.quantized > 0 ? "; its weights were quantized" : ", bit for bit");
    return GM__EXIT_DONE;
}

// ---------------------------------------------------------------------------------------------
static gm_status read_list(const char *from, gm_checkpoint_list *list, gm_error *err) {
    if (gm_path_is_folder(from)) return gm_checkpoint_list_read(from, list, err);
    *list = (gm_checkpoint_list){.item = gm_alloc(1, sizeof *list->item), .problem = gm_alloc(1, sizeof *list->problem)};
    gm_status status = list->item != NULL && list->problem != NULL ? gm_checkpoint_file_info(from, list->item, err)
                                                                   : gm_fail(err, GM_ERR_MEMORY, "out of memory");
    if (status == GM_OK) list->count = 1;
    else gm_checkpoint_list_fini(list);
    return status;
}

static void list_row(gm__table *table, const gm_checkpoint_info *i, const char *problem, const char *state) {
    char text[GM__TEXT_SHORT];
    gm__table_cell(table, "%llu", (unsigned long long)i->number);
    if (problem[0] != '\0') {
        for (int c = 0; c < 4; c++) gm__table_cell(table, "-");
    } else {
        if (i->parent != 0) gm__table_cell(table, "%llu", (unsigned long long)i->parent);
        else gm__table_cell(table, "-");
        gm__table_cell(table, "%s", gm__text_count((double)i->bytes, text));
        gm__table_cell(table, "%.2f", gm_checkpoint_ratio(i));
        gm__table_cell(table, "%.2f", gm_checkpoint_ratio_weights(i));
    }
    gm__table_cell(table, "%s", problem[0] != '\0' ? problem : state[0] != '\0' ? state : i->note);
}

static int print_list(const gm__args *args, const gm_checkpoint_list *list, const bool *whole, char (*why)[256]) {
    static const char *const titles[] = {"NUMBER", "PARENT", "BYTES", "RATIO", "WEIGHTS", "NOTE"};
    if (args->json) {
        json_t *rows = json_array();
        for (int i = 0; i < list->count; i++) {
            json_t *row = gm__checkpoint_json(&list->item[i]);
            if (whole != NULL) json_object_set_new(row, "whole", json_boolean(whole[i]));
            const char *problem = whole != NULL && !whole[i] ? why[i] : list->problem[i];
            json_object_set_new(row, "problem", problem[0] != '\0' ? json_string(problem) : json_null());
            json_array_append_new(rows, row);
        }
        for (int i = 0; i < list->missing; i++)
            json_array_append_new(rows, json_pack("{s:I, s:b, s:s}", "number", (json_int_t)list->missing_number[i], "whole",
                                                  0, "problem", "named by the manifest, and not there"));
        return gm__json_print(rows);
    }
    gm__table *table = gm__table_create(6, titles, "rrrrrl");
    for (int i = 0; i < list->count; i++) {
        bool bad = whole != NULL && !whole[i];
        list_row(table, &list->item[i], bad ? why[i] : list->problem[i], whole != NULL && !bad ? "whole" : "");
    }
    int status = gm__table_print(table);
    for (int i = 0; i < list->missing; i++)
        printf("checkpoint %llu is named by the manifest, and not there\n", (unsigned long long)list->missing_number[i]);
    return status;
}

static int run_list(const gm__command *self, int argc, char **argv) {
    gm__args args;
    gm_error err = {0};
    gm_checkpoint_list list;
    int status = gm__args_parse(self, NULL, 1, 1, argc, argv, &args);
    if (status != GM__EXIT_NONE) return status;
    if (read_list(args.positional[0], &list, &err) != GM_OK) return gm__failed(&err);
    status = print_list(&args, &list, NULL, NULL);
    gm_checkpoint_list_fini(&list);
    return status;
}

static int run_verify(const gm__command *self, int argc, char **argv) {
    gm__args args;
    gm_error err = {0};
    gm_checkpoint_list list;
    int status = gm__args_parse(self, NULL, 1, 1, argc, argv, &args);
    if (status != GM__EXIT_NONE) return status;
    const char *from = args.positional[0];
    if (read_list(from, &list, &err) != GM_OK) return gm__failed(&err);
    bool *whole = gm_alloc((size_t)list.count + 1, sizeof *whole);
    char(*why)[256] = gm_alloc((size_t)list.count + 1, sizeof *why);
    gm_progress *progress = NULL;
    int bad = list.missing;
    if (whole == NULL || why == NULL) {
        gm_fail(&err, GM_ERR_MEMORY, "out of memory");
        status = gm__failed(&err);
        goto done;
    }
    gm_progress_create("verify", (uint64_t)list.count, &progress, NULL);
    for (int i = 0; i < list.count; i++) {
        uint8_t *image = NULL;
        size_t bytes = 0;
        gm_error cause = {0};
        whole[i] = gm__checkpoint_read(from, list.item[i].number, &image, &bytes, NULL, &cause) == GM_OK;
        snprintf(why[i], sizeof why[i], "%s", cause.text);
        bad += !whole[i];
        gm_free(image);
        gm_progress_update(progress, (uint64_t)i + 1, NULL);
    }
    gm_progress_destroy(progress);
    status = print_list(&args, &list, whole, why);
    if (status == GM__EXIT_DONE && bad > 0) {
        fprintf(stderr, "gamut: %d of %d checkpoints cannot be restored\n", bad, list.count + list.missing);
        status = GM__EXIT_FAILED;
    }
done:
    gm_free(whole);
    gm_free(why);
    gm_checkpoint_list_fini(&list);
    return status;
}

// ---------------------------------------------------------------------------------------------
static int run_inspect(const gm__command *self, int argc, char **argv) {
    static const char *const roles[GM_CHECKPOINT_ROLES] = {"weights", "optimizer", "other"};
    static const char *const titles[] = {"PART", "BYTES", "STORED", "RATIO"};
    gm__args args;
    gm_error err = {0};
    int number = 0;
    char path[PATH_BYTES];
    gm_checkpoint_info info;
    const gm__option options[] = {
        {"number", "N", "which of a folder (default: the newest)", GM__OPTION_INT, &number, 1, 2147483647},
        {0},
    };
    int status = gm__args_parse(self, options, 1, 1, argc, argv, &args);
    if (status != GM__EXIT_NONE) return status;
    snprintf(path, sizeof path, "%s", args.positional[0]);
    gm_status read = GM_OK;
    if (gm_path_is_folder(path)) {
        gm_checkpoint_list list;
        if ((read = gm_checkpoint_list_read(path, &list, &err)) == GM_OK && number == 0 && list.count == 0)
            read = gm_fail(&err, GM_ERR_NOT_FOUND, "%.180s: no checkpoint there", path);
        if (read == GM_OK) {
            uint64_t n = number > 0 ? (uint64_t)number : list.item[list.count - 1].number;
            snprintf(path, sizeof path, "%.4000s/%08llu.gmc", args.positional[0], (unsigned long long)n);
            gm_checkpoint_list_fini(&list);
        }
    }
    if (read == GM_OK) read = gm_checkpoint_file_info(path, &info, &err);
    if (read != GM_OK) return gm__failed(&err);
    if (args.json) {
        json_t *all = gm__checkpoint_json(&info);
        json_t *parts = json_object();
        for (int r = 0; r < GM_CHECKPOINT_ROLES; r++)
            json_object_set_new(parts, roles[r], json_pack("{s:I, s:I}", "bytes", (json_int_t)info.raw[r], "stored",
                                                           (json_int_t)info.stored[r]));
        json_object_set_new(all, "parts", parts);
        json_object_set_new(all, "path", json_string(path));
        return gm__json_print(all);
    }
    printf("%s: checkpoint %llu, %s", path, (unsigned long long)info.number, info.parent == 0 ? "stands alone" : "");
    if (info.parent != 0) printf("a difference to checkpoint %llu", (unsigned long long)info.parent);
    printf("; %d tensors, %d quantized, %d dropped\n", info.tensors, info.quantized, info.dropped);
    gm__table *table = gm__table_create(4, titles, "lrrr");
    for (int r = 0; r <= GM_CHECKPOINT_ROLES; r++) {
        bool all = r == GM_CHECKPOINT_ROLES;
        uint64_t raw = all ? info.image_bytes : info.raw[r], stored = all ? info.bytes : info.stored[r];
        gm__table_cell(table, "%s", all ? "whole file" : roles[r]);
        gm__table_cell(table, "%llu", (unsigned long long)raw);
        gm__table_cell(table, "%llu", (unsigned long long)stored);
        gm__table_cell(table, "%.2f", stored > 0 ? (double)raw / (double)stored : 0);
    }
    status = gm__table_print(table);
    if (info.note[0] != '\0') printf("note: %s\n", info.note);
    return status;
}

static int run_prune(const gm__command *self, int argc, char **argv) {
    gm__args args;
    gm_error err = {0};
    int keep = 0, every = 0, removed = 0;
    uint64_t bytes = 0;
    bool damaged = false;
    const gm__option options[] = {
        {"keep-last", "N", "the newest so many stay", GM__OPTION_INT, &keep, 1, 1000000},
        {"keep-every", "K", "and every Kth", GM__OPTION_INT, &every, 1, 1000000},
        {"damaged", NULL, "remove those that cannot be restored", GM__OPTION_FLAG, &damaged, 0, 0},
        {0},
    };
    int status = gm__args_parse(self, options, 1, 1, argc, argv, &args);
    if (status != GM__EXIT_NONE) return status;
    if (keep == 0 && every == 0 && !damaged)
        return gm__usage_error(self, "say what stays: --keep-last N, --keep-every K; or --damaged");
    if (gm_checkpoint_prune(args.positional[0], keep, every, damaged, &removed, &bytes, &err) != GM_OK)
        return gm__failed(&err);
    if (args.json) return gm__json_print(json_pack("{s:i, s:I}", "removed", removed, "bytes", (json_int_t)bytes));
    char text[GM__TEXT_SHORT];
    printf("%d checkpoints removed, %sB\n", removed, gm__text_count((double)bytes, text));
    return GM__EXIT_DONE;
}

// ---------------------------------------------------------------------------------------------
static const gm__command verbs[] = {
    {"checkpoint save", "FILE --to DIR|FILE.gmc [--quantize [--max-drop X]]", "a safetensors file into the store",
     "Saves any safetensors file (a model, a training state). In a folder it is stored as a difference to the one before\n"
     "where that is smaller. Without --quantize it is restored bit for bit.",
     "  gamut checkpoint save runs/a/model.safetensors --to a.gmc\n"
     "  gamut checkpoint save runs/a/model.safetensors --to small.gmc --quantize --max-drop 0.01\n"
     "  gamut eval small.gmc --data fashion-mnist",
     gm__checkpoint_save},
    {"checkpoint restore", "DIR|FILE.gmc [--number N] --out FILE", "back to a safetensors file",
     "Every checksum is verified. Of a folder, the newest checkpoint that is whole, unless --number says which.",
     "  gamut checkpoint restore runs/a/checkpoints --out state.safetensors", run_restore},
    {"checkpoint verify", "DIR|FILE.gmc", "decodes all and checks every checksum",
     "Exit status 1 when one cannot be restored, or the manifest names one that is not there.",
     "  gamut checkpoint verify runs/a/checkpoints", run_verify},
    {"checkpoint list", "DIR", "what a folder holds", "Reads the directories of the files, not what they hold.",
     "  gamut checkpoint list runs/a/checkpoints --json", run_list},
    {"checkpoint inspect", "DIR|FILE.gmc [--number N]", "sizes by part, and the note",
     "Bytes of weights, optimizer and everything else, before and after.",
     "  gamut checkpoint inspect runs/a/checkpoints --number 3", run_inspect},
    {"checkpoint prune", "DIR --keep-last N [--keep-every K] [--damaged]", "removes old ones",
     "Never the newest that is whole, never one that a kept one is a difference to.",
     "  gamut checkpoint prune runs/a/checkpoints --keep-last 3 --keep-every 10", run_prune},
};
enum { VERBS = sizeof verbs / sizeof verbs[0] };
static const char *verb_of(const gm__command *c) { return c->name + strlen("checkpoint "); }

static int run(const gm__command *self, int argc, char **argv) {
    const char *names[VERBS + 1] = {0};
    if (argc >= 2 && argv[1][0] != '-') {
        for (int i = 0; i < VERBS; i++) {
            names[i] = verb_of(&verbs[i]);
            if (strcmp(argv[1], names[i]) == 0) return verbs[i].run(&verbs[i], argc - 1, argv + 1);
        }
        const char *near = gm__nearest(argv[1], names);
        return gm__usage_error(self, "unknown: '%s'%s%s%s", argv[1], near ? "; did you mean '" : "", near ? near : "",
                               near ? "'?" : "");
    }
    gm__args args;
    int status = gm__args_parse(self, NULL, 0, 0, argc, argv, &args);
    return status != GM__EXIT_NONE ? status : gm__usage_error(self, "what to do is missing");
}

const gm__command gm__cmd_checkpoint = {
    .name = "checkpoint",
    .arguments = "save|restore|verify|list|inspect|prune ...",
    .summary = "the store of compressed checkpoints",
    .detail = "A checkpoint file (.gmc) holds one safetensors file, compressed without loss or by quantization.\n"
              "  save FILE --to DIR|FILE.gmc     a file into a folder of checkpoints, or into one that stands alone\n"
              "  restore DIR|FILE.gmc --out F    back to a safetensors file\n"
              "  verify DIR|FILE.gmc             decodes all, checks every checksum\n"
              "  list DIR                        what a folder holds\n"
              "  inspect DIR|FILE.gmc            sizes by part, and the note\n"
              "  prune DIR --keep-last N         removes old ones\n"
              "'gamut checkpoint save --help' and so on show the options. docs/checkpoints.md describes the store.",
    .example = "  gamut checkpoint save runs/a/model.safetensors --to small.gmc --quantize --max-drop 0.01\n"
               "  gamut checkpoint list runs/a/checkpoints",
    .run = run,
};

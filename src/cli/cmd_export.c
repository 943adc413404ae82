// SPDX-License-Identifier: Apache-2.0
// gamut export: one calibrated subnet as a file for other programs.
#include "cli.h"

#include <gamut/port.h>

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { LABEL_BYTES = 1 << 22 };

typedef struct request {
    const char *model, *choice, *format, *out, *labels;
    bool no_fold;
} request;

// The 16 digits of a calibrated subnet's identity, or any word for a choice.
static gm_status find_choice(const gm_model *m, const char *word, gm_choice *out, gm_error *err) {
    const gm_space *space = &m->graph->space;
    char *end = NULL;
    uint64_t id = strtoull(word, &end, 16);
    if (strlen(word) != 16 || strspn(word, "0123456789abcdef") != 16 || *end != '\0')
        return gm_choice_parse(space, word, out, err);
    for (int i = 0; i < m->entries; i++) {
        if (gm_choice_id(space, &m->entry[i].choice) != id) continue;
        *out = m->entry[i].choice;
        return GM_OK;
    }
    return gm_fail(err, GM_ERR_NOT_FOUND,
                   "no calibrated subnet has the id %s; `gamut info MODEL` lists them", word);
}

// "onnx" or "safetensors": as said, else by the end of the file's name. NULL: neither.
static const char *choose_format(const request *r) {
    static const char *const formats[] = {"onnx", "safetensors"};
    const char *dot = strrchr(r->out, '.'), *said = r->format ? r->format : dot ? dot + 1 : "";
    for (int i = 0; i < 2; i++)
        if (strcmp(said, formats[i]) == 0) return formats[i];
    return NULL;
}

// One name a line, as many as classes; *text holds them.
static gm_status read_labels(const char *path, int classes, char **text, const char **names,
                             gm_error *err) {
    size_t bytes = 0;
    int count = 0;
    uint8_t *data = NULL;
    gm_status status = gm_file_read(path, LABEL_BYTES, &data, &bytes, err);
    *text = (char *)data;
    char *rest = *text;
    for (char *line = status == GM_OK ? strsep(&rest, "\n") : NULL; line != NULL;
         line = strsep(&rest, "\n")) {
        line[strcspn(line, "\r")] = '\0';
        if (line[0] == '\0' && rest == NULL) break; // behind the last line's end
        if (count < classes) names[count] = line;
        count++;
    }
    if (status == GM_OK && count != classes)
        status =
            gm_fail(err, GM_ERR_ARGUMENT, "%s: %d lines, the model has %d classes: one name a line",
                    path, count, classes);
    return status;
}

static gm_status write_file(const gm_subnet *s, const request *r, const char *format,
                            gm_error *err) {
    const int classes = s->model->graph->classes;
    char *text = NULL;
    const char **names = r->labels ? gm_alloc((size_t)classes, sizeof *names) : NULL;
    gm_export_settings settings = {.fold = !r->no_fold, .class_names = names};
    gm_status status = GM_OK;
    if (r->labels)
        status = names ? read_labels(r->labels, classes, &text, names, err)
                       : gm_fail(err, GM_ERR_MEMORY, "out of memory");
    if (status == GM_OK)
        status = strcmp(format, "onnx") == 0 ? gm_export_onnx(s, &settings, r->out, err)
                                             : gm_export_safetensors(s, &settings, r->out, err);
    gm_free(text);
    gm_free(names);
    return status;
}

static int report(const gm__args *args, const gm_subnet *s, const request *r, const char *format) {
    char choice[GM__TEXT_CHOICE], id[GM__TEXT_SHORT], size[GM__TEXT_SHORT], params[GM__TEXT_SHORT];
    gm_error err = {0};
    struct stat file;
    long long bytes = stat(r->out, &file) == 0 ? (long long)file.st_size : 0;
    if (gm__choice_text(&s->model->graph->space, &s->choice, choice, id, &err) != GM_OK)
        return gm__failed(&err);
    if (args->json) {
        return gm__json_print(json_pack("{s:s, s:s, s:s, s:s, s:I, s:I}", "path", r->out, "format",
                                        format, "choice", choice, "id", id, "bytes",
                                        (json_int_t)bytes, "params", (json_int_t)s->params));
    }
    printf("%s: %s, subnet %s, %s parameters, %sB\n", r->out, format, id,
           gm__text_count((double)s->params, params), gm__text_count((double)bytes, size));
    return GM__EXIT_DONE;
}

static int export_subnet(const gm__args *args, const request *r, const char *format) {
    gm_error err = {0};
    gm_model *m = NULL;
    gm_subnet *s = NULL;
    gm_choice choice;
    gm_status status = gm_model_load(r->model, &m, &err);
    if (status == GM_OK) status = find_choice(m, r->choice, &choice, &err);
    if (status == GM_OK) status = gm_subnet_create(m, &choice, &s, &err);
    if (status == GM_ERR_STATE) {
        gm_fail(
            &err, status,
            "subnet '%.60s' has no norm statistics: run\n  gamut calibrate %.80s --choices '%.60s'",
            r->choice, r->model, r->choice);
    }
    if (status == GM_OK) status = write_file(s, r, format, &err);
    int exit_status = status == GM_OK ? report(args, s, r, format) : gm__failed(&err);
    gm_subnet_destroy(s);
    gm_model_destroy(m);
    return exit_status;
}

static int run(const gm__command *self, int argc, char **argv) {
    gm__args args;
    request r = {0};
    const gm__option options[] = {
        {"choice", "C",
         "the subnet: max, min, random:SEED, uniform:d=4,e=6, the full form, or the id of a "
         "calibrated one",
         GM__OPTION_TEXT, &r.choice, 0, 0},
        {"format", "F", "onnx or safetensors (default: by the end of FILE's name)", GM__OPTION_TEXT,
         &r.format, 0, 0},
        {"out", "FILE", "the file to write", GM__OPTION_TEXT, &r.out, 0, 0},
        {"no-fold", NULL, "onnx: keep norms as operators instead of folding them into convolutions",
         GM__OPTION_FLAG, &r.no_fold, 0, 0},
        {"labels", "FILE", "names of the classes, one a line, for the file's metadata",
         GM__OPTION_TEXT, &r.labels, 0, 0},
        {0},
    };
    int status = gm__args_parse(self, options, 1, 1, argc, argv, &args);
    if (status != GM__EXIT_NONE) return status;
    if (r.choice == NULL) return gm__usage_error(self, "--choice is missing, e.g. --choice max");
    if (r.out == NULL) return gm__usage_error(self, "--out is missing, e.g. --out subnet.onnx");
    const char *format = choose_format(&r);
    if (format == NULL) {
        return gm__usage_error(
            self,
            "the format is neither onnx nor safetensors; give --format, or a name that ends in it");
    }
    r.model = args.positional[0];
    if (gm__same_file(r.model, r.out))
        return gm__usage_error(self, "--out is the model itself: give another file");
    return export_subnet(&args, &r, format);
}

const gm__command gm__cmd_export = {
    .name = "export",
    .arguments = "MODEL --choice C --out FILE [--format onnx|safetensors]",
    .summary = "one subnet as ONNX or safetensors, for any runtime",
    .detail = "Takes a calibrated subnet out of MODEL: its slices of the weights and its norm "
              "statistics. ONNX (opset 13)\n"
              "has the input 'input' (batch, channels, side, side), normalised as the file's "
              "metadata say, and the output\n"
              "'logits'. safetensors holds PyTorch names and the network as JSON in its metadata "
              "(docs/export.md).",
    .example = "  gamut export runs/fashion-mnist/model.safetensors --choice min --out min.onnx\n"
               "  gamut export model.safetensors --choice max --format safetensors --out "
               "max.safetensors --json",
    .run = run,
};

// SPDX-License-Identifier: Apache-2.0
// gamut import: a published supernet as a model file.
#include "cli.h"

#include <gamut/port.h>

static int report(const gm__args *args, const gm_model *m, const gm_import_report *r,
                  const char *choice, const char *out, double seconds) {
    char params[GM__TEXT_SHORT];
    if (args->json) {
        return gm__json_print(json_pack(
            "{s:s, s:s, s:i, s:I, s:i, s:b, s:b, s:o}", "out", out, "family", m->preset, "tensors",
            r->tensors, "params", (json_int_t)r->params, "classes", m->graph->classes, "statistics",
            r->statistics, "transforms", r->transforms, "seconds", gm__json_number(seconds)));
    }
    printf("%s: %s, %d tensors, %s parameters, %d classes%s\n", out, m->preset, r->tensors,
           gm__text_count((double)r->params, params), m->graph->classes,
           r->transforms ? ", kernels with learned transforms" : "");
    if (r->statistics && choice != NULL) {
        printf("only this subnet is in it, calibrated by the file's statistics:\n  --choice '%s'\n",
               choice);
        return GM__EXIT_DONE;
    }
    printf("%s:\n  gamut calibrate %s --data D --choices '%s'\n",
           r->statistics ? "the file's statistics calibrate the largest subnet (max); for others"
                         : "the file has no running statistics; before anything is run",
           out, choice != NULL ? choice : "C...");
    return GM__EXIT_DONE;
}

// A folder of a specialised subnet: net.config says what it is, init holds the weights.
static gm_status from_folder(const char *folder, gm_net_config *config,
                             gm_import_settings *settings, const char **family, char weights[4096],
                             gm_error *err) {
    gm_status status = gm_net_config_read(folder, config, err);
    if (status != GM_OK) return status;
    if (snprintf(weights, 4096, "%s/init", folder) >= 4096)
        return gm_fail(err, GM_ERR_ARGUMENT, "%s: too long", folder);
    *settings = (gm_import_settings){.model = config->model, .choice = config->choice};
    *family = config->preset;
    return GM_OK;
}

static int run(const gm__command *self, int argc, char **argv) {
    gm__args args;
    gm_error err = {0};
    const char *family = NULL, *out = NULL;
    char weights[4096];
    gm_model *m = NULL;
    gm_import_report counted;
    gm_net_config config;
    gm_import_settings settings = gm_import_settings_default();
    double eps = 0;
    const gm__option options[] = {
        {"family", "F",
         "what the file is: mbv3-w1.0, mbv3-w1.2, resnet50, proxyless, ... (`gamut space` lists "
         "them)",
         GM__OPTION_TEXT, &family, 0, 0},
        {"out", "MODEL", "the model file to write", GM__OPTION_TEXT, &out, 0, 0},
        {"choice", "C", "the file holds this one subnet (default: the whole supernet)",
         GM__OPTION_TEXT, &settings.choice, 0, 0},
        {"width", "W", "width multiplier (default: the family's)", GM__OPTION_NUMBER,
         &settings.model.width, 0.01, 16},
        {"resolution", "R", "largest input size (default: the family's)", GM__OPTION_INT,
         &settings.model.resolution, 8, 4096},
        {"kernel", "K", "3, 5 or 7: the one kernel size it was trained with (default: elastic)",
         GM__OPTION_INT, &settings.model.kernel_fixed, 3, 7},
        {"norm-eps", "E",
         "what its norms add to variances (default: what the file says, else the family's)",
         GM__OPTION_NUMBER, &eps, 1e-12, 1},
        {0},
    };
    int status = gm__args_parse(self, options, 1, 1, argc, argv, &args);
    if (status != GM__EXIT_NONE) return status;
    const char *file = args.positional[0];
    const bool folder = gm_path_is_folder(file);
    if (family == NULL && !folder)
        return gm__usage_error(self, "--family is missing, e.g. --family mbv3-w1.0");
    if (out == NULL) return gm__usage_error(self, "--out is missing, e.g. --out model.safetensors");
    if (gm__same_file(file, out))
        return gm__usage_error(self, "--out is FILE itself: give another file");
    double start = gm_now();
    gm_status result = GM_OK;
    if (folder) {
        result = from_folder(file, &config, &settings, &family, weights, &err);
        file = weights;
    }
    if (eps > 0) settings.model.norm_eps = (float)eps;
    if (result == GM_OK) result = gm_import(file, family, &settings, &m, &counted, &err);
    if (result == GM_OK) result = gm_model_save(m, out, &err);
    status = result == GM_OK ? report(&args, m, &counted, settings.choice, out, gm_now() - start)
                             : gm__failed(&err);
    gm_model_destroy(m);
    return status;
}

const gm__command gm__cmd_import = {
    .name = "import",
    .arguments = "FILE|FOLDER --family F --out MODEL",
    .summary = "a published supernet or subnet (torch file, safetensors) as a model file",
    .detail = "Reads the state dict in FILE without running anything in it: torch's zip files, its "
              "files from before 1.6, and\n"
              "safetensors. Every parameter of the family must be there and nothing else; classes "
              "and learned kernel\n"
              "transforms are what the file has. With --choice, or from a FOLDER with net.config, "
              "run.config and init, it is\n"
              "one subnet, and the model can run only that (docs/export.md).",
    .example =
        "  gamut import ofa_mbv3_d234_e346_k357_w1.0 --family mbv3-w1.0 --out ofa.safetensors\n"
        "  gamut import ofa_supernet_resnet50 --family resnet50 --out resnet50.safetensors --json\n"
        "  gamut import flops@389M_top1@79.1_finetune@75 --out subnet.safetensors",
    .run = run,
};

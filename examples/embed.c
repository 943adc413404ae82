// SPDX-License-Identifier: Apache-2.0
// Gamut inside a program: opens a trained model, takes a subnet that it was never asked for, gives
// it statistics of its own, and measures it.
//   cc -Iinclude examples/embed.c build/release/libgamut.a ... (CMake builds it as example_embed)
//   example_embed runs/fashion-mnist/model.safetensors fashion-mnist random:7
#include <gamut/train.h>

static gm_status measure(const char *path, const char *data, const char *text, gm_error *err) {
    gm_model *model = NULL;
    gm_dataset *train = NULL, *test = NULL;
    gm_walker *walker = NULL;
    gm_choice choice;
    gm_cost cost;
    gm_eval_result result;
    gm_augment inputs = gm_augment_default();
    gm_calibrate_settings calibrate = gm_calibrate_settings_default();

    gm_status status = gm_model_load(path, &model, err);
    if (status != GM_OK) goto done;
    // One graph for the whole supernet; a choice is a plain value, and says how much of it is used.
    status = gm_choice_parse(&model->graph->space, text, &choice, err);
    if (status != GM_OK) goto done;
    status = gm_count(model->graph, &choice, &cost, err);
    if (status != GM_OK) goto done;

    status = gm_dataset_load(data, NULL, GM_PART_TRAIN, 0, &train, err);
    if (status != GM_OK) goto done;
    status = gm_dataset_load(data, NULL, GM_PART_TEST, 0, &test, err);
    if (status != GM_OK) goto done;
    status = gm_walker_create(model->graph, model->norm_offset, GM_F32, 200, false, &walker, err);
    if (status != GM_OK) goto done;
    gm_walker_refresh(walker, model->params);

    // Batch norm without statistics of this very subnet would be wrong, so it is refused until
    // calibrated.
    for (int c = 0; c < 4; c++) {
        inputs.mean[c] = model->input_mean[c];
        inputs.std[c] = model->input_std[c];
    }
    status = gm_calibrate(model, walker, train, NULL, 0, &inputs, &calibrate, &choice, err);
    if (status != GM_OK) goto done;
    status = gm_evaluate(model, walker, test, NULL, 0, &choice, &result, err);
    if (status != GM_OK) goto done;
    printf("%s: %.1f M multiply-accumulates, %.2f M parameters, %.2f %% of %d images right\n", text,
           (double)cost.macs / 1e6, (double)cost.params / 1e6, result.top1, result.images);
done:
    gm_walker_destroy(walker);
    gm_dataset_destroy(test);
    gm_dataset_destroy(train);
    gm_model_destroy(model);
    return status;
}

int main(int argc, char **argv) {
    gm_error err = {0};
    if (argc != 4) {
        fprintf(stderr, "usage: %s MODEL DATA CHOICE\n", argv[0]);
        return 2;
    }
    if (measure(argv[1], argv[2], argv[3], &err) == GM_OK) return 0;
    fprintf(stderr, "%s: %s\n", argv[0], err.text);
    return 1;
}

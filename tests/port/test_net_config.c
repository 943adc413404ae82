// SPDX-License-Identifier: Apache-2.0
// net.config of specialised subnets: the 34 published MobileNetV3 ones have the multiply-accumulates and parameters
// that an independent counter found (specs: training 9.2); what is not one is refused.
#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <gamut/port.h>

static const struct {
    const char *name;
    int resolution;
    double macs, params; // millions
} published[] = {
    {"LG-G8_lat-11ms_top1-73.0_finetune-25", 156, 103.4, 4.97},
    {"LG-G8_lat-16ms_top1-74.7_finetune-25", 176, 151.1, 5.81},
    {"LG-G8_lat-24ms_top1-76.4_finetune-25", 220, 229.8, 5.81},
    {"LG-G8_lat-8ms_top1-71.1_finetune-25", 144, 73.5, 4.11},
    {"flops-389M_top1-79.1_finetune-75", 224, 389.5, 8.39},
    {"flops-482M_top1-79.6_finetune-75", 224, 482.4, 9.07},
    {"flops-595M_top1-80.0_finetune-75", 236, 595.2, 9.14},
    {"note10_lat-11ms_top1-73.6_finetune-25", 176, 109.6, 4.28},
    {"note10_lat-16ms_top1-75.5_finetune-25", 192, 162.5, 4.93},
    {"note10_lat-22ms_top1-76.6_finetune-25", 224, 237.1, 5.86},
    {"note10_lat-30ms_top1-78.4_finetune-75", 224, 339.4, 7.47},
    {"note10_lat-41ms_top1-79.3_finetune-75", 220, 457.3, 9.03},
    {"note10_lat-50ms_top1-79.7_finetune-75", 220, 554.4, 9.06},
    {"note10_lat-64ms_top1-80.2_finetune-75", 260, 743.1, 9.11},
    {"note10_lat-8ms_top1-71.4_finetune-25", 160, 75.8, 3.76},
    {"note8_lat-22ms_top1-70.4_finetune-25", 140, 67.2, 4.30},
    {"note8_lat-31ms_top1-72.8_finetune-25", 152, 100.5, 4.60},
    {"note8_lat-49ms_top1-74.9_finetune-25", 176, 163.7, 6.02},
    {"note8_lat-65ms_top1-76.1_finetune-25", 204, 219.9, 5.30},
    {"pixel1_lat-132ms_top1-79.8_finetune-75", 228, 592.7, 9.23},
    {"pixel1_lat-143ms_top1-80.1_finetune-75", 240, 641.8, 9.22},
    {"pixel1_lat-20ms_top1-71.4_finetune-25", 152, 76.7, 4.30},
    {"pixel1_lat-28ms_top1-73.3_finetune-25", 160, 108.6, 5.20},
    {"pixel1_lat-40ms_top1-74.9_finetune-25", 172, 162.3, 6.02},
    {"pixel1_lat-58ms_top1-76.9_finetune-75", 220, 229.8, 5.81},
    {"pixel1_lat-79ms_top1-78.7_finetune-75", 224, 355.5, 8.17},
    {"pixel2_lat-25ms_top1-71.5_finetune-25", 144, 79.3, 4.14},
    {"pixel2_lat-35ms_top1-73.4_finetune-25", 160, 113.0, 5.06},
    {"pixel2_lat-50ms_top1-74.7_finetune-25", 208, 166.0, 4.69},
    {"pixel2_lat-62ms_top1-75.8_finetune-25", 208, 207.9, 5.81},
    {"s7edge_lat-29ms_top1-70.5_finetune-25", 144, 66.4, 3.83},
    {"s7edge_lat-41ms_top1-73.1_finetune-25", 160, 95.9, 4.66},
    {"s7edge_lat-58ms_top1-74.7_finetune-25", 192, 144.7, 4.62},
    {"s7edge_lat-88ms_top1-76.3_finetune-25", 192, 219.3, 6.43},
};

static bool find_folder(void *context, const char *folder) {
    snprintf(context, 512, "%s/ofa/ofa/ofa_specialized", folder);
    return gm_path_is_folder(context);
}

static void count(const char *folder, gm_net_config *config, gm_cost *cost) {
    gm_error err = {0};
    gm_graph *g = NULL;
    gm_choice choice;
    if (gm_net_config_read(folder, config, &err) || gm_model_graph(config->preset, &config->model, &g, &err) ||
        gm_choice_parse(&g->space, config->choice, &choice, &err) || gm_count(g, &choice, cost, &err))
        fail_msg("%s", err.text);
    gm_graph_destroy(g);
}

static void published_subnets_have_their_cost(void **state) {
    (void)state;
    char root[512], folder[1024];
    gm_net_config config;
    gm_cost cost;
    if (!gm_data_folders(find_folder, root)) {
        print_message("skipped: needs ofa/ofa/ofa_specialized\n");
        skip();
    }
    for (size_t i = 0; i < sizeof published / sizeof published[0]; i++) {
        snprintf(folder, sizeof folder, "%s/%s", root, published[i].name);
        count(folder, &config, &cost);
        assert_int_equal(config.model.resolution, published[i].resolution);
        assert_true(config.model.norm_eps == 1e-5f);
        if (!(labs((long)((double)cost.macs / 1e5 + 0.5) - (long)(published[i].macs * 10 + 0.5)) == 0) ||
            !(labs((long)((double)cost.params / 1e4 + 0.5) - (long)(published[i].params * 100 + 0.5)) == 0))
            fail_msg("%s: %.1f M, %.2f M", published[i].name, (double)cost.macs / 1e6, (double)cost.params / 1e6);
    }
    // the others are Proxyless: all are subnets of our family
    struct dirent **list;
    int n = scandir(root, &list, NULL, alphasort), proxyless = 0;
    for (int i = 0; i < n; i++) {
        snprintf(folder, sizeof folder, "%s/%s", root, list[i]->d_name);
        if (list[i]->d_name[0] != '.') {
            count(folder, &config, &cost);
            proxyless += strcmp(config.preset, "proxyless") == 0 && config.model.norm_eps == 1e-3f;
        }
        free(list[i]);
    }
    free(list);
    assert_int_equal(proxyless, 16);
}

static void refuse(const char *net, const char *run, const char *says) {
    char folder[] = "/tmp/gamut-config-XXXXXX", path[64];
    gm_error err = {0};
    gm_net_config config;
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/net.config", folder);
    if (net) gm_file_write(path, net, strlen(net), NULL);
    gm_status status = GM_OK;
    char other[64];
    snprintf(other, sizeof other, "%s/run.config", folder);
    if (run) gm_file_write(other, run, strlen(run), NULL);
    status = gm_net_config_read(folder, &config, &err);
    remove(path);
    remove(other);
    remove(folder);
    if (status == GM_OK || !strstr(err.text, says)) fail_msg("status %d, '%s', not '%s'", status, err.text, says);
}

#define HEAD "{\"name\": \"MobileNetV3\", \"bn\": {\"eps\": 1e-5}, \"first_conv\": {\"out_channels\": 16}, "
#define TAIL "\"classifier\": {\"out_features\": 10}}"
#define BLOCK(in, out, k, e)                                                                                           \
    "{\"conv\": {\"in_channels\": " #in ", \"out_channels\": " #out ", \"kernel_size\": " #k ", \"expand_ratio\": " #e \
    "}}"

static void other_files_are_refused(void **state) {
    (void)state;
    const char *run = "{\"image_size\": 224}";
    refuse(NULL, run, "cannot open");
    refuse("{", run, "line 1");
    refuse("{}", run, "none of our families");
    refuse("{\"name\": \"ResNets\", \"first_conv\": {\"out_channels\": 16}}", run, "none of our families");
    refuse(HEAD TAIL, NULL, "cannot open");
    refuse(HEAD TAIL, "{}", "no usable classes");
    refuse(HEAD TAIL, run, "no list of blocks");
    refuse(HEAD "\"blocks\": [null, null], " TAIL, run, "block 1");
    refuse(HEAD "\"blocks\": [null, " BLOCK(16, 24, 99, 3) "], " TAIL, run, "block 1");
    refuse(HEAD "\"blocks\": [null, " BLOCK(16, 16, 3, 3) "], " TAIL, run, "block 1");
    refuse(HEAD "\"blocks\": [null, " BLOCK(16, 24, 3, 3) ", " BLOCK(24, 24, 3, 5) "], " TAIL, run, "does not allow");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(published_subnets_have_their_cost),
        cmocka_unit_test(other_files_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

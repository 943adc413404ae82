// SPDX-License-Identifier: Apache-2.0
// The subnet configurations published with Once-for-all (net.config, run.config): turned into choices of our families,
// their MACs and parameters must be the golden figures (specs: training 9.2), and those that a second, direct count over
// the configuration gives.
#include "base/base_test.h"

#include <dirent.h>
#include <gamut/model.h>
#include <jansson.h>

typedef struct figures {
    const char *folder; // up to "_finetune"
    int resolution;
    const char *macs, *params; // millions, as printed
} figures;

static const figures golden[] = {
    {"LG-G8_lat-11ms_top1-73.0", 156, "103.4", "4.97"},    {"LG-G8_lat-16ms_top1-74.7", 176, "151.1", "5.81"},
    {"LG-G8_lat-24ms_top1-76.4", 220, "229.8", "5.81"},    {"LG-G8_lat-8ms_top1-71.1", 144, "73.5", "4.11"},
    {"flops-389M_top1-79.1", 224, "389.5", "8.39"},        {"flops-482M_top1-79.6", 224, "482.4", "9.07"},
    {"flops-595M_top1-80.0", 236, "595.2", "9.14"},        {"note10_lat-11ms_top1-73.6", 176, "109.6", "4.28"},
    {"note10_lat-16ms_top1-75.5", 192, "162.5", "4.93"},   {"note10_lat-22ms_top1-76.6", 224, "237.1", "5.86"},
    {"note10_lat-30ms_top1-78.4", 224, "339.4", "7.47"},   {"note10_lat-41ms_top1-79.3", 220, "457.3", "9.03"},
    {"note10_lat-50ms_top1-79.7", 220, "554.4", "9.06"},   {"note10_lat-64ms_top1-80.2", 260, "743.1", "9.11"},
    {"note10_lat-8ms_top1-71.4", 160, "75.8", "3.76"},     {"note8_lat-22ms_top1-70.4", 140, "67.2", "4.30"},
    {"note8_lat-31ms_top1-72.8", 152, "100.5", "4.60"},    {"note8_lat-49ms_top1-74.9", 176, "163.7", "6.02"},
    {"note8_lat-65ms_top1-76.1", 204, "219.9", "5.30"},    {"pixel1_lat-132ms_top1-79.8", 228, "592.7", "9.23"},
    {"pixel1_lat-143ms_top1-80.1", 240, "641.8", "9.22"},  {"pixel1_lat-20ms_top1-71.4", 152, "76.7", "4.30"},
    {"pixel1_lat-28ms_top1-73.3", 160, "108.6", "5.20"},   {"pixel1_lat-40ms_top1-74.9", 172, "162.3", "6.02"},
    {"pixel1_lat-58ms_top1-76.9", 220, "229.8", "5.81"},   {"pixel1_lat-79ms_top1-78.7", 224, "355.5", "8.17"},
    {"pixel2_lat-25ms_top1-71.5", 144, "79.3", "4.14"},    {"pixel2_lat-35ms_top1-73.4", 160, "113.0", "5.06"},
    {"pixel2_lat-50ms_top1-74.7", 208, "166.0", "4.69"},   {"pixel2_lat-62ms_top1-75.8", 208, "207.9", "5.81"},
    {"s7edge_lat-29ms_top1-70.5", 144, "66.4", "3.83"},    {"s7edge_lat-41ms_top1-73.1", 160, "95.9", "4.66"},
    {"s7edge_lat-58ms_top1-74.7", 192, "144.7", "4.62"},   {"s7edge_lat-88ms_top1-76.3", 192, "219.3", "6.43"},
};

static const char *find_golden(const char *folder, int resolution, gm_cost cost) {
    static char text[256];
    for (size_t i = 0; i < sizeof golden / sizeof golden[0]; i++) {
        size_t n = strlen(golden[i].folder);
        if (strncmp(golden[i].folder, folder, n) != 0 || folder[n] != '_') continue;
        char macs[32], params[32];
        snprintf(macs, sizeof macs, "%.1f", (double)cost.macs / 1e6);
        snprintf(params, sizeof params, "%.2f", (double)cost.params / 1e6);
        if (resolution == golden[i].resolution && !strcmp(macs, golden[i].macs) && !strcmp(params, golden[i].params))
            return NULL;
        snprintf(text, sizeof text, "%d, %s, %s, not %d, %s, %s", resolution, macs, params, golden[i].resolution,
                 golden[i].macs, golden[i].params);
        return text;
    }
    return "no golden figure";
}

static int whole(const json_t *object, const char *key) { return (int)json_integer_value(json_object_get(object, key)); }

static json_t *load(const char *folder, const char *name, const char *file) {
    char path[PATH_MAX + NAME_MAX + 16];
    snprintf(path, sizeof path, "%s/%s/%s", folder, name, file);
    return json_load_file(path, 0, NULL);
}

// The direct count. size: rows of the square image, updated.
static void add_conv(gm_cost *c, int *size, int in, int out, int kernel, int stride, int groups) {
    *size = (*size - 1) / stride + 1; // "same" padding
    uint64_t weights = (uint64_t)(in / groups) * (uint64_t)out * (uint64_t)(kernel * kernel);
    c->macs += weights * (uint64_t)(*size * *size);
    c->params += weights;
}

static void add_config_conv(gm_cost *c, int *size, const json_t *conv) {
    if (!conv) return;
    int out = whole(conv, "out_channels");
    add_conv(c, size, whole(conv, "in_channels"), out, whole(conv, "kernel_size"), whole(conv, "stride"), 1);
    if (json_is_true(json_object_get(conv, "use_bn"))) c->params += 2 * (uint64_t)out;
}

static gm_cost direct_count(const json_t *net, int size) {
    gm_cost c = {0};
    add_config_conv(&c, &size, json_object_get(net, "first_conv"));
    size_t i;
    const json_t *block;
    json_array_foreach(json_object_get(net, "blocks"), i, block) {
        const json_t *m = json_object_get(block, "mobile_inverted_conv");
        if (!json_is_object(m)) continue;
        int in = whole(m, "in_channels"), out = whole(m, "out_channels"), expand = whole(m, "expand_ratio");
        int mid = json_is_integer(json_object_get(m, "mid_channels")) ? whole(m, "mid_channels") : in * expand;
        if (expand != 1) {
            add_conv(&c, &size, in, mid, 1, 1, 1);
            c.params += 2 * (uint64_t)mid;
        }
        add_conv(&c, &size, mid, mid, whole(m, "kernel_size"), whole(m, "stride"), mid);
        c.params += 2 * (uint64_t)mid;
        if (json_is_true(json_object_get(m, "use_se"))) {
            int hidden = (mid / 4 + 4) / 8 * 8;
            if (hidden * 10 < mid / 4 * 9) hidden += 8;
            c.macs += 2 * (uint64_t)mid * (uint64_t)hidden;
            c.params += 2 * (uint64_t)mid * (uint64_t)hidden + (uint64_t)(mid + hidden);
        }
        add_conv(&c, &size, mid, out, 1, 1, 1);
        c.params += 2 * (uint64_t)out;
    }
    bool final_expand = json_is_object(json_object_get(net, "final_expand_layer"));
    if (final_expand) {
        add_config_conv(&c, &size, json_object_get(net, "final_expand_layer"));
        size = 1; // MobileNetV3 pools before the feature mix, Proxyless after
    }
    add_config_conv(&c, &size, json_object_get(net, "feature_mix_layer"));
    const json_t *linear = json_object_get(net, "classifier");
    uint64_t in = (uint64_t)whole(linear, "in_features"), out = (uint64_t)whole(linear, "out_features");
    c.macs += in * out;
    c.params += in * out + out;
    return c;
}

static void set(const gm_space *s, gm_choice *c, const char *group, int number, int value) {
    char name[24];
    snprintf(name, sizeof name, "%s%d", group, number);
    for (int k = 0; k < s->knobs; k++) {
        if (strcmp(s->knob[k].name, name) != 0) continue;
        for (int i = 0; i < s->knob[k].count; i++)
            if ((int)s->knob[k].values[i] == value) {
                c->index[k] = (uint8_t)i;
                return;
            }
    }
    fail_msg("%s=%d is not in the space", name, value);
}

// Stages are told apart by their width; the last stage of Proxyless is one block without a depth knob.
static gm_choice choice_of(const json_t *net, const gm_space *s) {
    gm_choice c = {{0}};
    int stage = 0, depth = 0, width = 0;
    size_t i;
    const json_t *block;
    json_array_foreach(json_object_get(net, "blocks"), i, block) {
        const json_t *m = json_object_get(block, "mobile_inverted_conv");
        if (i == 0 || !json_is_object(m)) continue;
        if (whole(m, "out_channels") != width) {
            if (stage > 0) set(s, &c, "d", stage, depth);
            stage++;
            depth = 0;
            width = whole(m, "out_channels");
        }
        int number = (stage - 1) * 4 + ++depth;
        set(s, &c, "e", number, whole(m, "expand_ratio"));
        set(s, &c, "k", number, whole(m, "kernel_size"));
    }
    if (stage == 5) set(s, &c, "d", 5, depth);
    return c;
}

static int mbv3_seen, proxyless_seen;

static void check(const char *folder, const char *name) {
    json_t *net = load(folder, name, "net.config"), *run = load(folder, name, "run.config");
    if (!net || !run) fail_msg("%s: net.config or run.config cannot be read", name);
    bool mbv3 = strcmp(json_string_value(json_object_get(net, "name")), "MobileNetV3") == 0;
    bool wide = whole(json_object_get(net, "feature_mix_layer"), "out_channels") == 1536;
    int resolution = whole(run, "image_size");
    gm_model_settings settings = {.resolution = resolution, .single_resolution = true};
    gm_graph *g = NULL;
    gm_error err = {0};
    gm_cost cost = {0};
    if (gm_model_graph(!mbv3 ? "proxyless" : wide ? "mbv3-w1.2" : "mbv3-w1.0", &settings, &g, &err) != GM_OK)
        fail_msg("%s: %s", name, err.text);
    gm_choice choice = choice_of(net, &g->space);
    if (gm_count(g, &choice, &cost, &err) != GM_OK) fail_msg("%s: %s", name, err.text);
    gm_cost direct = direct_count(net, resolution);
    assert_int_equal(cost.macs, direct.macs);
    assert_int_equal(cost.params, direct.params);
    const char *wrong = mbv3 ? find_golden(name, resolution, cost) : NULL;
    if (wrong) fail_msg("%s: %s", name, wrong);
    if (mbv3) mbv3_seen++;
    else proxyless_seen++;
    gm_graph_destroy(g);
    json_decref(net);
    json_decref(run);
}

static bool visit(void *context, const char *data) {
    (void)context;
    char folder[PATH_MAX];
    snprintf(folder, sizeof folder, "%s/ofa/ofa/ofa_specialized", data);
    DIR *d = opendir(folder);
    if (!d) return false;
    for (struct dirent *e = readdir(d); e; e = readdir(d))
        if (e->d_name[0] != '.') check(folder, e->d_name);
    closedir(d);
    return true;
}

static void published_subnets_have_the_golden_figures(void **state) {
    (void)state;
    if (!gm_data_folders(visit, NULL)) {
        print_message("skipped: needs ofa/ofa/ofa_specialized in a data folder\n");
        skip();
    }
    print_message("%d MobileNetV3 and %d Proxyless subnets\n", mbv3_seen, proxyless_seen);
    assert_int_equal(mbv3_seen, 34);
    assert_int_equal(proxyless_seen, 16);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(published_subnets_have_the_golden_figures)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

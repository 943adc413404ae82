// SPDX-License-Identifier: Apache-2.0
// port: net.config and run.config of a specialised Once-for-all subnet (specs: training 6.2): which subnet of which
// family it is. The shapes of its weights are checked by the import itself.
#include <math.h>
#include <string.h>

#include <gamut/port.h>
#include <jansson.h>

enum { MAX_FILE = 1 << 20, MAX_BLOCKS = 64, MAX_STAGES = 8, MOST_DEPTH = 4 };

// Families by the width of their first convolution.
static const struct {
    const char *name;
    int first_width;
    const char *preset;
    double width;
} families[] = {
    {"MobileNetV3", 16, "mbv3-w1.0", 1.0},
    {"MobileNetV3", 24, "mbv3-w1.2", 1.2},
    {"ProxylessNASNets", 32, "proxyless", 1.0},
    {"ProxylessNASNets", 40, "proxyless", 1.3},
};
enum { FAMILIES = sizeof families / sizeof families[0] };

typedef struct block {
    int expand, kernel;
} block;
typedef struct network {
    block at[MAX_STAGES][MOST_DEPTH];
    int depth[MAX_STAGES], stages;
} network;

static gm_status read_json(const char *folder, const char *name, json_t **out, gm_error *err) {
    char path[4096];
    uint8_t *data = NULL;
    size_t bytes = 0;
    json_error_t why;
    if (snprintf(path, sizeof path, "%s/%s", folder, name) >= (int)sizeof path)
        return gm_fail(err, GM_ERR_ARGUMENT, "the folder's name is too long");
    gm_status status = gm_file_read(path, MAX_FILE, &data, &bytes, err);
    if (status) return status;
    *out = json_loadb((const char *)data, bytes, JSON_REJECT_DUPLICATES, &why);
    gm_free(data);
    if (*out) return GM_OK;
    return gm_fail(err, GM_ERR_FORMAT, "%.120s: line %d: %.80s", path, why.line, why.text);
}

// A whole number from least to most; -1: absent or another value.
static int whole(const json_t *o, const char *key, int least, int most) {
    const json_t *v = json_object_get(o, key);
    json_int_t n = json_is_integer(v) ? json_integer_value(v) : -1;
    return n >= least && n <= most ? (int)n : -1;
}

static gm_status read_blocks(const char *folder, const json_t *net, network *out, gm_error *err) {
    const json_t *blocks = json_object_get(net, "blocks");
    size_t count = json_array_size(blocks);
    if (count < 2 || count > MAX_BLOCKS) return gm_fail(err, GM_ERR_FORMAT, "%s/net.config: no list of blocks", folder);
    for (size_t i = 1; i < count; i++) { // block 0 has nothing to choose
        const json_t *b = json_array_get(blocks, i), *conv = json_object_get(b, "mobile_inverted_conv");
        if (!json_is_object(conv)) conv = json_object_get(b, "conv");
        int in = whole(conv, "in_channels", 1, 65536), to = whole(conv, "out_channels", 1, 65536);
        int kernel = whole(conv, "kernel_size", 1, 15), expand = whole(conv, "expand_ratio", 1, 16);
        if (in < 0 || to < 0 || kernel < 0 || expand < 0)
            return gm_fail(err, GM_ERR_FORMAT, "%s/net.config: block %zu has no usable widths, kernel and expand ratio",
                           folder, i);
        // the first block of a stage changes the width
        if (in != to && out->stages == MAX_STAGES)
            return gm_fail(err, GM_ERR_FORMAT, "%s/net.config: too many stages", folder);
        if (in != to) out->stages++;
        if (out->stages == 0 || out->depth[out->stages - 1] == MOST_DEPTH)
            return gm_fail(err, GM_ERR_FORMAT, "%s/net.config: block %zu: a stage of more than %d blocks", folder, i,
                           MOST_DEPTH);
        out->at[out->stages - 1][out->depth[out->stages - 1]++] = (block){expand, kernel};
    }
    return GM_OK;
}

// The value of a knob; knobs of a group count blocks (four a stage, one in a stage without a depth knob).
static double knob_value(const network *n, const gm_space *space, int k) {
    const gm_knob *knob = &space->knob[k];
    const char *kind = space->group[knob->group].kind;
    int first = k, depths = 0;
    while (first > 0 && space->knob[first - 1].group == knob->group) first--;
    for (int i = 0; i < space->knobs; i++) depths += strcmp(space->group[space->knob[i].group].kind, "depth") == 0;
    int i = k - first;
    if (strcmp(kind, "depth") == 0) return i < n->stages ? n->depth[i] : -1;
    bool single = i >= depths * MOST_DEPTH;
    int stage = single ? depths + i - depths * MOST_DEPTH : i / MOST_DEPTH, at = single ? 0 : i % MOST_DEPTH;
    if (stage >= n->stages) return -1;
    if (at >= n->depth[stage]) return knob->values[0]; // not in use
    return strcmp(kind, "kernel") == 0 ? n->at[stage][at].kernel : n->at[stage][at].expand;
}

static gm_status find_choice(const char *folder, const network *n, gm_net_config *out, gm_error *err) {
    gm_graph *g = NULL;
    gm_choice choice = {{0}};
    gm_status status = gm_model_graph(out->preset, &out->model, &g, err);
    if (status) return status;
    for (int k = 0; k < g->space.knobs && !status; k++) {
        const gm_knob *knob = &g->space.knob[k];
        double wanted = knob_value(n, &g->space, k);
        int i = 0;
        while (i < knob->count && knob->values[i] != wanted) i++;
        if (i == knob->count)
            status = gm_fail(err, GM_ERR_FORMAT, "%s/net.config: %s does not allow %s = %g", folder, out->preset,
                             knob->name, wanted);
        else
            choice.index[k] = (uint8_t)i;
    }
    if (!status) status = gm_choice_print(&g->space, &choice, out->choice, sizeof out->choice, err);
    gm_graph_destroy(g);
    return status;
}

gm_status gm_net_config_read(const char *folder, gm_net_config *out, gm_error *err) {
    json_t *net = NULL, *run = NULL;
    network n = {0};
    *out = (gm_net_config){0};
    gm_status status = read_json(folder, "net.config", &net, err);
    if (!status) status = read_json(folder, "run.config", &run, err);
    if (status) goto done;
    const char *name = json_string_value(json_object_get(net, "name"));
    int width = whole(json_object_get(net, "first_conv"), "out_channels", 1, 65536), family = 0;
    while (family < FAMILIES &&
           (!name || strcmp(families[family].name, name) != 0 || families[family].first_width != width))
        family++;
    if (family == FAMILIES) {
        status =
            gm_fail(err, GM_ERR_UNSUPPORTED, "%s/net.config: '%.40s' with a first width of %d is none of our families",
                    folder, name ? name : "", width);
        goto done;
    }
    snprintf(out->preset, sizeof out->preset, "%s", families[family].preset);
    out->model.width = families[family].width;
    out->model.classes = whole(json_object_get(net, "classifier"), "out_features", 2, 65536);
    out->model.resolution = whole(run, "image_size", 32, 1024);
    out->model.single_resolution = true;
    out->model.norm_eps = (float)json_number_value(json_object_get(json_object_get(net, "bn"), "eps"));
    if (out->model.classes < 0 || out->model.resolution < 0 || !(out->model.norm_eps >= 0) || out->model.norm_eps > 1) {
        status = gm_fail(err, GM_ERR_FORMAT, "%s: no usable classes, norm eps (net.config) or image size (run.config)",
                         folder);
        goto done;
    }
    status = read_blocks(folder, net, &n, err);
    if (!status) status = find_choice(folder, &n, out, err);
done:
    json_decref(net);
    json_decref(run);
    return status;
}

// SPDX-License-Identifier: Apache-2.0
// Settings of the quantizer: defaults, text, ranges.
#include "checkpoint/quant_private.h"

#include <math.h>
#include <stdlib.h>

gm__quant_settings gm__quant_settings_default(void) {
    return (gm__quant_settings){
        .config = {.bins = 16, .embedding_bins = 16, .prune = 0.1f, .protect = 0.0005f},
        .coder = GM__QUANT_RANS, .codebook = GM__QUANT_WARM, .density = 0.2f, .sigma = 0.2f, .stick = 0.15f, .parallel = true, .seed = 1};
}

bool gm__quant_config_valid(const gm__quant_config *c) {
    return c->bins >= 2 && c->bins <= GM__QUANT_BINS && c->embedding_bins >= 2 && c->embedding_bins <= GM__QUANT_BINS &&
           c->prune >= 0 && c->prune < 1 && c->protect >= 0 && c->protect <= 0.5f;
}

bool gm__quant_takes(size_t count, const float *weights) {
    uint32_t worst = 0;
    for (size_t i = 0; i < count; i++) {
        uint32_t u = gm__bits(weights[i]) & 0x7fffffffu;
        worst = u > worst ? u : worst;
    }
    return worst < 0x7f800000u;
}

void gm__quant_config_print(const gm__quant_config *c, char *text, size_t size) {
    snprintf(text, size, "bins=%d embedding=%d prune=%g protect=%g by=%s", c->bins, c->embedding_bins, (double)c->prune,
             (double)c->protect, c->by_sensitivity ? "sensitivity" : "magnitude");
}

// One key=value; false when the key is unknown or the value no number.
static bool config_set(gm__quant_config *c, const char *key, const char *value) {
    char *end = NULL;
    if (strcmp(key, "by") == 0) {
        c->by_sensitivity = strcmp(value, "sensitivity") == 0;
        return c->by_sensitivity || strcmp(value, "magnitude") == 0;
    }
    double v = strtod(value, &end);
    if (end == value || *end || !isfinite(v) || v < 0 || v > 1000) return false;
    if (strcmp(key, "bins") == 0) c->bins = (int)v;
    else if (strcmp(key, "embedding") == 0) c->embedding_bins = (int)v;
    else if (strcmp(key, "prune") == 0) c->prune = (float)v;
    else if (strcmp(key, "protect") == 0) c->protect = (float)v;
    else return false;
    return true;
}

gm_status gm__quant_config_parse(const char *text, gm__quant_config *out, gm_error *err) {
    gm__quant_config c = gm__quant_settings_default().config;
    char copy[160], *word = NULL, *rest = NULL;
    if (strlen(text) >= sizeof copy)
        return gm_fail(err, GM_ERR_ARGUMENT, "configuration '%.40s...' is too long", text);
    snprintf(copy, sizeof copy, "%s", text);
    for (word = strtok_r(copy, " ,", &rest); word; word = strtok_r(NULL, " ,", &rest)) {
        char *value = strchr(word, '=');
        if (value) *value++ = '\0';
        if (!value || !config_set(&c, word, value))
            return gm_fail(err, GM_ERR_ARGUMENT, "configuration: '%.40s=%.40s' is not one of bins=, embedding=, prune=, "
                           "protect= with a number, by=magnitude, by=sensitivity", word, value ? value : "");
    }
    if (!gm__quant_config_valid(&c))
        return gm_fail(err, GM_ERR_RANGE, "configuration '%.80s': bins and embedding are 2 to %d, prune 0 to below 1, "
                       "protect 0 to 0.5", text, GM__QUANT_BINS);
    *out = c;
    return GM_OK;
}

static const char *const coder_names[] = {"rans", "paper", "rle", "huffman"};
enum { CODERS = sizeof coder_names / sizeof *coder_names };

const char *gm__quant_coder_name(gm__quant_coder coder) {
    return (unsigned)coder < CODERS ? coder_names[coder] : "unknown";
}

gm_status gm__quant_coder_parse(const char *text, gm__quant_coder *out, gm_error *err) {
    for (int i = 0; i < CODERS; i++) {
        if (strcmp(text, coder_names[i]) != 0) continue;
        *out = (gm__quant_coder)i;
        return GM_OK;
    }
    return gm_fail(err, GM_ERR_ARGUMENT, "coder '%.40s' is unknown: rans, paper, rle or huffman", text);
}

// SPDX-License-Identifier: Apache-2.0
// Results of searches, and files of measured subnets: any bytes are read or refused.
#include <gamut/search.h>
#include <stdlib.h>

#include "search/measured.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static void require(bool holds) {
    if (!holds) abort();
}

static void read_result(const gm_space *space, const char *text, size_t bytes) {
    gm_search_result r;
    gm_error err = {0};
    uint64_t model;
    double gap;
    if (gm_search_parse(text, bytes, "input", space, &r, &model, &err) != GM_OK) {
        require(err.text[0] != '\0' && r.front == NULL && r.evaluated == NULL);
        return;
    }
    require(gm_search_gap(&r, &r, space, GM_OBJECTIVE_MACS, 0, &gap, &err) == GM_OK && gap >= 0);
    gm_search_result_fini(&r);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
    static gm_space space;
    gm_error err = {0};
    if (space.knobs == 0) {
        gm_graph *g = NULL;
        require(gm_model_graph("resnet-28", NULL, &g, NULL) == GM_OK);
        space = g->space;
        gm_graph_destroy(g);
        gm_log_set(GM_LOG_ERROR);
    }
    read_result(&space, (const char *)data, bytes);
    gm__measured_list l = {.space = &space, .model = 1, .settings = 2}; // what the corpus has
    if (gm__measured_parse(&l, (const char *)data, bytes, "input", &err) == GM_OK) {
        for (int i = 0; i < l.rows; i++) require(gm__measured_find(&l, &l.row[i].choice, l.row[i].images, l.row[i].calibrate));
    } else {
        require(err.text[0] != '\0');
    }
    gm__measured_fini(&l);
    return 0;
}

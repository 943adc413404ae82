// SPDX-License-Identifier: Apache-2.0
// Choices as text: any bytes are read or refused, and what was read prints, and reads back the same.
#include <gamut/model.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static void require(bool holds) {
    if (!holds) abort();
}

static gm_space space_of(const char *preset) {
    gm_graph *g = NULL;
    require(gm_model_graph(preset, NULL, &g, NULL) == GM_OK);
    gm_space space = g->space;
    gm_graph_destroy(g);
    return space;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
    static gm_space spaces[3];
    if (spaces[0].knobs == 0) {
        spaces[0] = space_of("mbv3");
        spaces[1] = space_of("resnet50");
        spaces[2] = space_of("resnet-28");
    }
    char *text = malloc(bytes + 1), printed[512];
    if (!text) return 0;
    if (bytes) memcpy(text, data, bytes);
    text[bytes] = '\0';
    for (int i = 0; i < 3; i++) {
        gm_choice c, back;
        gm_error err = {0};
        if (gm_choice_parse(&spaces[i], text, &c, &err) != GM_OK) {
            require(err.text[0] != '\0');
            continue;
        }
        require(gm_choice_print(&spaces[i], &c, printed, sizeof printed, &err) == GM_OK);
        require(gm_choice_parse(&spaces[i], printed, &back, &err) == GM_OK);
        require(memcmp(&c, &back, sizeof c) == 0 && gm_choice_distance(&spaces[i], &c, &back) == 0);
        require(gm_choice_id(&spaces[i], &c) == gm_choice_id(&spaces[i], &back));
    }
    free(text);
    return 0;
}

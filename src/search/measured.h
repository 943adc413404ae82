// SPDX-License-Identifier: Apache-2.0
// Subnets that were measured, kept in a file so that a search can be continued (docs/search.md).
#ifndef GAMUT_SEARCH_MEASURED_H
#define GAMUT_SEARCH_MEASURED_H

#include <gamut/search.h>

typedef struct gm__measured {
    gm_choice choice; // canonical
    int images, calibrate; // validation images, and those behind the statistics
    double top1;
} gm__measured;

typedef struct gm__measured_list {
    const gm_space *space;
    uint64_t model, settings; // hashes; a file with others is started anew
    const char *path;         // NULL: kept in memory only
    gm__measured *row;
    int rows, capacity;
    int unsaved;
} gm__measured_list;

// Reads path if it is there. A damaged file is an error: it may be somebody else's.
gm_status gm__measured_open(gm__measured_list *l, const char *path, const gm_space *space, uint64_t model, uint64_t settings,
                            gm_error *err);
void gm__measured_fini(gm__measured_list *l);
gm_status gm__measured_parse(gm__measured_list *l, const char *text, size_t bytes, const char *what, gm_error *err);
const gm__measured *gm__measured_find(const gm__measured_list *l, const gm_choice *choice, int images, int calibrate);
gm_status gm__measured_add(gm__measured_list *l, const gm__measured *m, gm_error *err);
gm_status gm__measured_save(gm__measured_list *l, gm_error *err); // when there is something new

#endif

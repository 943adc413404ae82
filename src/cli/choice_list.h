// SPDX-License-Identifier: Apache-2.0
// choice_list: the subnets that words on the command line name.
#ifndef GAMUT_CHOICE_LIST_H
#define GAMUT_CHOICE_LIST_H

#include <gamut/space.h>

typedef struct gm__choice_list {
    gm_choice *choice; // canonical, no two alike
    int count, capacity;
    bool out_of_memory;
} gm__choice_list;

// Adds what one word names: a choice, 'all' (of a space of at most 2,000 subnets), a file with one
// choice a line, or a *.json file of `gamut search` (its front) or `gamut profile`.
gm_status gm__choice_list_add(gm__choice_list *list, const gm_space *space, const char *word,
                              gm_error *err);
void gm__choice_list_free(gm__choice_list *list);

#endif

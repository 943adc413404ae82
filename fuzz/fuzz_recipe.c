// SPDX-License-Identifier: Apache-2.0
// Recipes: any bytes are read or refused, and what was read is written and reads back the same.
#include "cli/recipe.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
    gm__recipe recipe = gm__recipe_default();
    gm_error err = {0};
    if (gm__recipe_parse((const char *)data, bytes, "fuzz.yaml", &recipe, &err) != GM_OK) {
        if (err.text[0] == '\0') abort(); // refused without a word
        return 0;
    }
    int count = 0;
    const gm__setting *settings = gm__settings(&count);
    for (int i = 0; i < count; i++) {
        char value[1400];
        gm__setting_value(&settings[i], &recipe, value, sizeof value);
        if (value[0] == '\0') abort();
    }
    return 0;
}

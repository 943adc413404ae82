// SPDX-License-Identifier: Apache-2.0
// Recipes: YAML to training settings and back. docs/recipes.md describes every setting.
#ifndef GAMUT_RECIPE_H
#define GAMUT_RECIPE_H

#include <gamut/train.h>

enum { GM__RECIPE_MAX_BYTES = 64 * 1024, GM__RECIPE_ALLOWED = 200 };

// Where training states go (docs/checkpoints.md).
enum { GM__STORE_NONE = 0, GM__STORE_LOSSLESS = 1, GM__STORE_QUANTIZED = 2 };
typedef struct gm__recipe_checkpoint {
    int store;     // GM__STORE_...
    double every;  // epochs
    int keep, keep_every, full_every;
    int optimizer; // gm_checkpoint_optimizer
    double max_drop, early_drop, distortion, stick;
    int metric;    // 0 loss, 1 accuracy
    int subnets;   // 0: the largest and the smallest are bounded, 1: the largest alone
    int images, trials, restores;
    int coder;     // 0 rans, 1 paper, 2 rle, 3 huffman
} gm__recipe_checkpoint;

typedef struct gm__recipe {
    gm_train_settings train;
    gm__recipe_checkpoint checkpoint;
    bool test; // evaluate on the test set too, once, at the end
} gm__recipe;

typedef enum gm__setting_kind {
    GM__SETTING_INT,    // int
    GM__SETTING_SEED,   // uint64_t
    GM__SETTING_FLOAT,  // float
    GM__SETTING_DOUBLE, // double
    GM__SETTING_BOOL,   // bool
    GM__SETTING_NAME,   // an int-sized enum, one of `names`
    GM__SETTING_TEXT,   // char[capacity], of at least `least` characters, one of `names` when there
                        // are any
    GM__SETTING_FLOATS, // float[capacity], `least` to `capacity` of them
    GM__SETTING_CHOICES, // the choices evaluated at the end
    GM__SETTING_TYPE     // type and type_auto
} gm__setting_kind;

typedef struct gm__setting {
    const char *section, *key; // section "" is the top level
    gm__setting_kind kind;
    size_t offset; // into gm__recipe
    int least, capacity;
    double min, max;
    const char *const *names; // ends with NULL
    const int *values;        // of the names; NULL: 0, 1, 2, ...
    const char *help;
} gm__setting;

// The table of all settings, in the order in which they are written, and the sections ("" first,
// ends with NULL).
const gm__setting *gm__settings(int *count);
extern const char *const gm__setting_sections[];
// What a setting accepts, in words.
void gm__setting_allowed(const gm__setting *setting, char text[GM__RECIPE_ALLOWED]);
// Converts texts into the recipe; false: not allowed (the recipe is then unchanged).
bool gm__setting_apply(const gm__setting *setting, const char *const *texts, uint32_t count,
                       gm__recipe *recipe);
// The value in YAML notation.
void gm__setting_value(const gm__setting *setting, const gm__recipe *recipe, char *text,
                       size_t size);

gm__recipe gm__recipe_default(void);
// Fills in what is left open: the subnets to evaluate.
void gm__recipe_resolve(gm__recipe *recipe);
// Applies a YAML text on top of *recipe. what names it in errors ("file:line: ..."). recipe is
// unchanged on failure.
gm_status gm__recipe_parse(const char *text, size_t bytes, const char *what, gm__recipe *recipe,
                           gm_error *err);
gm_status gm__recipe_read(const char *path, gm__recipe *recipe, gm_error *err);
// "key=value" or "section.key=value"; the value is YAML.
gm_status gm__recipe_set(const char *assignment, gm__recipe *recipe, gm_error *err);
gm_status gm__recipe_write(const gm__recipe *recipe, const char *path, gm_error *err);

#endif

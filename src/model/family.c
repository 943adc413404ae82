// SPDX-License-Identifier: Apache-2.0
// model: helpers that every family uses to emit its graph.
#include <math.h>

#include "model/family.h"

int gm__make_divisible(double v, int divisor) {
    int n = gm_max(divisor, divisor * (int)floor((v + divisor / 2.0) / divisor));
    return (double)n < 0.9 * v ? n + divisor : n;
}

int gm__knob(gm_builder *b, const char *group, const char *kind, const double *values, int count, gm_gate gate) {
    int knob = -1;
    if (b->err.status) return -1;
    gm_space_add(&b->graph->space, group, kind, values, count, gate.knob, gate.min, &knob, &b->err);
    return knob;
}

gm_size gm__channels(gm_builder *b, double v) { return gm_size_const(b, gm__make_divisible(v, 8)); }

static int identity(void *ctx, double a, double b) {
    (void)ctx;
    (void)b;
    return (int)a;
}

gm_size gm__resolution(gm_builder *b, const gm_model_settings *s, const double *values, int count) {
    double kept[GM_MAX_VALUES];
    int n = 0;
    for (int i = 0; i < count && n < GM_MAX_VALUES - 1; i++)
        if (values[i] < s->resolution) kept[n++] = values[i];
    kept[n++] = s->resolution;
    if (s->single_resolution || n == 1) return gm_size_const(b, s->resolution);
    int knob = gm__knob(b, "r", "resolution", kept, n, gm__always());
    return gm_size_table(b, knob, -1, identity, NULL);
}

gm_size gm__resolution_steps(gm_builder *b, const gm_model_settings *s) {
    enum { LEAST = 128 };
    double values[GM_MAX_VALUES];
    int step = 4, count = 0;
    while ((s->resolution - LEAST) / step >= GM_MAX_VALUES) step *= 2;
    for (int r = LEAST; r < s->resolution && count < GM_MAX_VALUES - 1; r += step) values[count++] = r;
    return gm__resolution(b, s, values, count);
}

int gm__classifier(gm_builder *b, const gm_model_settings *s, const char *name, int x) {
    if (s->dropout > 0) x = gm_add_dropout(b, x, s->dropout);
    return gm_add_linear(b, name, x, gm_size_const(b, s->classes), true);
}

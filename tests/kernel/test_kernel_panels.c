// SPDX-License-Identifier: Apache-2.0
// Weights between plain rows and panels, against the index of one element.
#include "kernel/kernel_check.h"

static void rows_and_panels_hold_the_same_bits(void **state) {
    (void)state;
    static const int outputs[] = {1, 15, 16, 17, 40}, inputs[] = {1, 3, 16, 19, 64}, sides[] = {1, 2, 3, 7};
    for (int k = 0; k < 5 * 5 * 4 * 2; k++) {
        int o = outputs[k % 5], i = inputs[k / 5 % 5], side = sides[k / 25 % 4], taps = side * side;
        gm_panels p;
        size_t stored = gm_panels_layout(&p, GM_F32, o, i, side, side, k >= 100), count = (size_t)(o * i * taps);
        float *rows = gm_alloc(count, sizeof *rows), *panels = gm_alloc(stored, sizeof *panels);
        float *back = gm_alloc(count, sizeof *back), *expected = gm_alloc(stored, sizeof *expected);
        for (size_t e = 0; e < count; e++) {
            uint32_t bits = (uint32_t)e * 2654435761u; // any bits, NaN among them
            memcpy(&rows[e], &bits, sizeof bits);
            int tap = (int)e % taps, row = (int)e / taps;
            memcpy(&expected[gm_panels_index(&p, row / i, row % i, tap)], &rows[e], sizeof bits);
        }
        memset(panels, 0x55, stored * sizeof *panels);
        gm_panels_from_rows(&p, rows, panels);
        assert_memory_equal(panels, expected, stored * sizeof *panels);
        gm_panels_to_rows(&p, panels, back);
        assert_memory_equal(back, rows, count * sizeof *rows);
        gm_free(rows);
        gm_free(panels);
        gm_free(back);
        gm_free(expected);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(rows_and_panels_hold_the_same_bits)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

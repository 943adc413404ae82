// SPDX-License-Identifier: Apache-2.0
// Rank correlation, Pareto fronts and how far one lies behind another.
#include <gamut/search.h>

#include <math.h>
#include <stdlib.h>

double gm_kendall_tau(int n, const double *a, const double *b) {
    double concordant = 0, ties_a = 0, ties_b = 0, pairs = 0;
    for (int i = 0; i < n; i++) {
        for (int j = 0; j < i; j++) {
            double x = a[i] - a[j], y = b[i] - b[j];
            pairs++;
            ties_a += x == 0;
            ties_b += y == 0;
            if (x != 0 && y != 0) concordant += (x > 0) == (y > 0) ? 1 : -1;
        }
    }
    double scale = sqrt((pairs - ties_a) * (pairs - ties_b));
    return scale > 0 ? concordant / scale : NAN;
}

typedef struct point {
    double cost, value;
    int number;
} point;

// Cheapest first, of equally cheap ones the best.
static int by_cost(const void *a, const void *b) {
    const point *x = a, *y = b;
    if (x->cost != y->cost) return x->cost < y->cost ? -1 : 1;
    if (x->value != y->value) return x->value > y->value ? -1 : 1;
    return x->number - y->number;
}

int gm_pareto(int n, const double *cost, const double *value, int *index) {
    point *points = gm_alloc((size_t)gm_max(n, 1), sizeof *points);
    int count = 0;
    if (!points) return -1;
    for (int i = 0; i < n; i++) points[i] = (point){cost[i], value[i], i};
    qsort(points, (size_t)n, sizeof *points, by_cost);
    double best = -INFINITY;
    for (int i = 0; i < n; i++) {
        if (!(points[i].value > best)) continue;
        best = points[i].value;
        index[count++] = points[i].number;
    }
    gm_free(points);
    return count;
}

// The best value at a cost; below the cheapest point, that of the cheapest.
static double value_at(int n, const double *cost, const double *value, double at) {
    double best = -INFINITY, least = INFINITY, cheapest = -INFINITY;
    for (int i = 0; i < n; i++) {
        if (cost[i] <= at) best = fmax(best, value[i]);
        if (cost[i] < least || (cost[i] == least && value[i] > cheapest)) {
            least = cost[i];
            cheapest = value[i];
        }
    }
    return best > -INFINITY ? best : cheapest;
}

double gm_front_gap(int a_count, const double *a_cost, const double *a_value, int b_count, const double *b_cost,
                    const double *b_value) {
    double gap = 0;
    if (a_count < 1) return b_count < 1 ? 0 : INFINITY;
    for (int i = 0; i < b_count; i++) gap = fmax(gap, b_value[i] - value_at(a_count, a_cost, a_value, b_cost[i]));
    return gap;
}

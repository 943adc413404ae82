// SPDX-License-Identifier: Apache-2.0
// Clustering of weighted points on a line. Exactly, by dynamic programming over sorted points: the best split of a prefix moves
// right as the prefix grows, so each layer is solved by halving (n log n a centre). Published are k-means++ and Lloyd's
// iterations, which are here as well: random seeds relabel the centres at every checkpoint, and that costs a third of the
// ratio of differences (specification of checkpoints, 5.2).
#include "checkpoint/quant_private.h"

#include <math.h>

// Points nearest to centre c lie below (c + next) / 2; ties go to the lower centre.
static int cell_end(const double *x, int n, int from, const float *centre, int k, int c) {
    if (c == k - 1) return n;
    double edge = ((double)centre[c] + (double)centre[c + 1]) / 2;
    while (from < n && x[from] <= edge) from++;
    return from;
}

double gm__cluster_loss(const double *x, const double *w, int n, const float *centre, int k) {
    double loss = 0;
    for (int c = 0, i = 0; c < k; c++) {
        int end = cell_end(x, n, i, centre, k, c);
        for (; i < end; i++) loss += w[i] * (x[i] - (double)centre[c]) * (x[i] - (double)centre[c]);
    }
    return loss;
}

static void sort_up(float *v, int n) {
    for (int i = 1; i < n; i++) {
        float key = v[i];
        int j = i;
        for (; j > 0 && v[j - 1] > key; j--) v[j] = v[j - 1];
        v[j] = key;
    }
}

void gm__cluster_lloyd(const double *x, const double *w, int n, float *centre, int k, int steps) {
    for (int step = 0; step < steps; step++) {
        bool moved = false;
        float next[GM__QUANT_BINS];
        for (int c = 0, i = 0; c < k; c++) {
            int end = cell_end(x, n, i, centre, k, c);
            double sum = 0, mass = 0;
            for (; i < end; i++) {
                sum += w[i] * x[i];
                mass += w[i];
            }
            next[c] = mass > 0 ? (float)(sum / mass) : centre[c]; // an empty cell keeps its centre
            moved = moved || next[c] != centre[c];
        }
        memcpy(centre, next, (size_t)k * sizeof *centre);
        sort_up(centre, k); // an empty cell may have been passed
        if (!moved) break;
    }
}

// The centres of the cell from..to-1 and their loss, best cut in two; false: it has one point at most.
static double cut(const double *x, const double *w, int from, int to, float two[2]) {
    double mass = 0, sum = 0, left = 0, left_sum = 0, best = -1;
    for (int i = from; i < to; i++) {
        mass += w[i];
        sum += w[i] * x[i];
    }
    for (int i = from; i + 1 < to; i++) { // what the cut saves: the spread between the two means
        left += w[i];
        left_sum += w[i] * x[i];
        double a = left_sum / left, b = (sum - left_sum) / (mass - left), saved = left * (mass - left) / mass * (a - b) * (a - b);
        if (!(saved > best)) continue;
        best = saved;
        two[0] = (float)a;
        two[1] = (float)b;
    }
    return best;
}

typedef struct cell {
    int end;      // its points end before this one
    double saved; // by its best cut
    float two[2]; // into cells with these centres
} cell;

// Cells from..to-1 again: their centres changed, or the centre beside them.
static void cut_cells(const double *x, const double *w, int n, const float *centre, int k, int from, int to, cell *cells) {
    for (int c = from, i = from > 0 ? cells[from - 1].end : 0; c < to; c++) {
        cells[c].end = cell_end(x, n, i, centre, k, c);
        cells[c].saved = cut(x, w, i, cells[c].end, cells[c].two);
        i = cells[c].end;
    }
}

int gm__cluster_grow(const double *x, const double *w, int n, float *centre, int k, int to) {
    cell cells[GM__QUANT_BINS];
    cut_cells(x, w, n, centre, k, 0, k, cells);
    for (; k > 0 && k < to; k++) {
        int at = 0;
        for (int c = 1; c < k; c++) at = cells[c].saved > cells[at].saved ? c : at;
        if (!(cells[at].saved > 0)) break; // no cell has two points
        memmove(centre + at + 1, centre + at, (size_t)(k - at) * sizeof *centre);
        memmove(cells + at + 1, cells + at, (size_t)(k - at) * sizeof *cells);
        memcpy(centre + at, cells[at].two, sizeof cells[at].two);
        cut_cells(x, w, n, centre, k + 1, gm_max(at - 1, 0), gm_min(at + 3, k + 1), cells);
    }
    return k;
}

void gm__cluster_shrink(const double *x, const double *w, int n, float *centre, int k, int to) {
    for (; k > to; k--) {
        double mass[GM__QUANT_BINS] = {0}, best = INFINITY;
        int at = 0;
        for (int c = 0, i = 0; c < k; c++)
            for (int end = cell_end(x, n, i, centre, k, c); i < end; i++) mass[c] += w[i];
        for (int c = 0; c + 1 < k; c++) { // what joining two costs
            double both = mass[c] + mass[c + 1], gap = (double)centre[c + 1] - (double)centre[c];
            double lost = both > 0 ? mass[c] * mass[c + 1] / both * gap * gap : 0;
            if (lost < best) {
                best = lost;
                at = c;
            }
        }
        double both = mass[at] + mass[at + 1];
        if (both > 0) centre[at] = (float)((mass[at] * (double)centre[at] + mass[at + 1] * (double)centre[at + 1]) / both);
        memmove(centre + at + 1, centre + at + 2, (size_t)(k - at - 2) * sizeof *centre);
    }
}

void gm__cluster_seed(const double *x, const double *w, int n, float *centre, int k, gm_rng *rng) {
    int chosen = 0;
    while (chosen < k) {
        double total = 0, sum = 0;
        for (int pass = 0; pass < 2; pass++) {
            double target = (double)gm_rng_uniform(rng) * total;
            for (int i = 0; i < n; i++) {
                double d = chosen > 0 ? INFINITY : 1;
                for (int c = 0; c < chosen; c++) d = fmin(d, (x[i] - (double)centre[c]) * (x[i] - (double)centre[c]));
                if (pass == 0) {
                    total += d * w[i];
                } else if ((sum += d * w[i]) > target || i == n - 1) {
                    centre[chosen] = (float)x[i];
                    break;
                }
            }
        }
        chosen++;
    }
    sort_up(centre, k);
}

// Sums of the first i points: mass, first and second moment.
typedef struct sums {
    double w, wx, wxx;
} sums;

static double cost(const sums *s, int from, int to) { // of points from..to-1 around their mean
    double w = s[to].w - s[from].w, wx = s[to].wx - s[from].wx, wxx = s[to].wxx - s[from].wxx;
    double rest = wxx - wx * wx / w;
    return w > 0 && rest > 0 ? rest : 0;
}

// best[j]: loss of the first j points in c + 1 cells, split[j]: where the last of them starts; fewer[j]: where it did in c cells, which is no
// further right.
static void solve(const sums *s, const double *before, const int *fewer, double *best, int *split, int low, int high, int from, int to) {
    while (low <= high) {
        int mid = low + (high - low) / 2, at = gm_max(from, fewer[mid]);
        double least = INFINITY;
        for (int i = at; i <= gm_min(mid, to) && before[i] < least; i++) { // before[i] rises with i
            double v = before[i] + cost(s, i, mid);
            if (v < least) {
                least = v;
                at = i;
            }
        }
        best[mid] = least;
        split[mid] = at;
        solve(s, before, fewer, best, split, low, mid - 1, from, at); // depth log n: the longer half loops
        low = mid + 1;
        from = at;
    }
}

gm_status gm__cluster_exact(const double *x, const double *w, int n, float *centre, int k, gm_error *err) {
    size_t row = (size_t)n + 1;
    sums *s = gm_alloc(row, sizeof *s);
    double *loss = gm_alloc(2 * row, sizeof *loss);
    int *split = gm_alloc(row * (size_t)k, sizeof *split);
    gm_status status = GM_OK;
    if (!s || !loss || !split) {
        status = gm_fail(err, GM_ERR_MEMORY, "no memory to cluster %d points", n);
        goto done;
    }
    double middle = n > 0 ? x[n / 2] : 0; // moments about a point of the data lose fewer digits
    for (int i = 0; i < n; i++) {
        double d = x[i] - middle;
        s[i + 1] = (sums){s[i].w + w[i], s[i].wx + w[i] * d, s[i].wxx + w[i] * d * d};
    }
    double *before = loss, *best = loss + row;
    for (int j = 0; j <= n; j++) before[j] = cost(s, 0, j);
    for (int c = 1; c < k; c++) {
        solve(s, before, split + (size_t)(c - 1) * row, best, split + (size_t)c * row, 0, n, 0, n);
        double *swap = before;
        before = best;
        best = swap;
    }
    for (int c = k - 1, end = n; c >= 0; c--) {
        int start = c > 0 ? split[(size_t)c * row + (size_t)end] : 0;
        double mass = s[end].w - s[start].w;
        // an empty cell repeats a neighbour
        centre[c] = mass > 0 ? (float)(middle + (s[end].wx - s[start].wx) / mass)
                             : c + 1 < k ? centre[c + 1] : (float)middle;
        end = start;
    }
    sort_up(centre, k);
done:
    gm_free(s);
    gm_free(loss);
    gm_free(split);
    return status;
}

// SPDX-License-Identifier: Apache-2.0
// Two panels of lines as SVG: accuracy against what was spent on training.
#include "summarise.h"

#include <math.h>

enum { WIDTH = 960, HEIGHT = 464, LEFT = 64, TOP = 84, PANEL = 392, SPACE = 88, BOTTOM = 408 };

// Colours that people with any kind of colour blindness tell apart (Okabe and Ito, 2008); dashes for print.
static const char *const colours[MAX_SERIES] = {"#0072b2", "#d55e00", "#009e73", "#cc79a7",
                                                "#e69f00", "#56b4e9", "#000000", "#999999"};
static const char *const dashes[MAX_SERIES] = {"", "7 3", "2 3", "9 3 2 3", "", "7 3", "2 3", "9 3 2 3"};

typedef struct axis {
    double low, high, step;
} axis;

// A step of 1, 2 or 5 times a power of ten that makes at most `most` intervals.
static double nice_step(double range, int most) {
    double power = pow(10, floor(log10(range / most)));
    static const double factors[] = {1, 2, 5, 10};
    for (int i = 0; i < 4; i++)
        if (range / (factors[i] * power) <= most) return factors[i] * power;
    return 10 * power;
}

static axis cost_axis(const panel panels[2]) {
    double high = 0;
    for (int p = 0; p < 2; p++)
        for (int l = 0; l < panels[p].lines; l++)
            for (int i = 0; i < panels[p].line[l].count; i++) high = fmax(high, panels[p].line[l].x[i]);
    if (!(high > 0)) high = 1;
    return (axis){0, high * 1.02, nice_step(high, 5)};
}

// The interesting end: from a good way below the lowest last value; earlier values may lie below.
static axis accuracy_axis(const panel *p) {
    double low = 100, high = 0;
    for (int l = 0; l < p->lines; l++) {
        const series *s = &p->line[l];
        if (s->count == 0) continue;
        low = fmin(low, s->y[s->count - 1]);
        for (int i = 0; i < s->count; i++) high = fmax(high, s->y[i]);
    }
    if (high < low) return (axis){0, 100, 20};
    low = fmax(0, floor((low - 15) / 5) * 5);
    high = fmin(100, ceil((high + 1) / 5) * 5);
    return (axis){low, high, nice_step(high - low, 8)};
}

static void draw_axes(FILE *f, int left, axis x, axis y, double unit, const char *unit_name) {
    for (int i = 0; y.low + i * y.step <= y.high + 1e-9; i++) {
        double value = y.low + i * y.step, at = BOTTOM - (value - y.low) / (y.high - y.low) * (BOTTOM - TOP);
        fprintf(f, "<line x1=\"%d\" y1=\"%.1f\" x2=\"%d\" y2=\"%.1f\" stroke=\"#dddddd\"/>\n", left, at, left + PANEL, at);
        fprintf(f, "<text x=\"%d\" y=\"%.1f\" text-anchor=\"end\">%g</text>\n", left - 6, at + 4, value);
    }
    for (int i = 0; i * x.step <= x.high; i++) {
        double at = left + i * x.step / x.high * PANEL;
        fprintf(f, "<line x1=\"%.1f\" y1=\"%d\" x2=\"%.1f\" y2=\"%d\" stroke=\"#555555\"/>\n", at, BOTTOM, at, BOTTOM + 4);
        fprintf(f, "<text x=\"%.1f\" y=\"%d\" text-anchor=\"middle\">%g</text>\n", at, BOTTOM + 18, i * x.step / unit);
    }
    fprintf(f, "<path d=\"M%d %dV%dH%d\" fill=\"none\" stroke=\"#555555\"/>\n", left, TOP, BOTTOM, left + PANEL);
    fprintf(f, "<text x=\"%d\" y=\"%d\" text-anchor=\"middle\">multiply-accumulates spent on training, in %s</text>\n",
            left + PANEL / 2, BOTTOM + 40, unit_name);
    fprintf(f, "<text transform=\"translate(%d %d) rotate(-90)\" text-anchor=\"middle\">accuracy on held-out images, %%"
            "</text>\n", left - 40, (TOP + BOTTOM) / 2);
}

static void draw_line(FILE *f, const series *s, int number, int left, axis x, axis y, int clip) {
    fprintf(f, "<g clip-path=\"url(#panel%d)\" stroke=\"%s\">\n<polyline fill=\"none\" stroke-width=\"2\" "
            "stroke-dasharray=\"%s\" points=\"", clip, colours[number], dashes[number]);
    double height = BOTTOM - TOP;
    for (int i = 0; i < s->count; i++)
        fprintf(f, "%.1f,%.1f ", left + s->x[i] / x.high * PANEL, BOTTOM - (s->y[i] - y.low) / (y.high - y.low) * height);
    fprintf(f, "\"/>\n");
    for (int i = 0; i < s->count; i++)
        fprintf(f, "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"3\" fill=\"%s\"/>\n", left + s->x[i] / x.high * PANEL,
                BOTTOM - (s->y[i] - y.low) / (y.high - y.low) * height, colours[number]);
    fprintf(f, "</g>\n");
}

static void draw_legend(FILE *f, const panel *p) {
    for (int l = 0; l < p->lines; l++) {
        int at = LEFT + l * 130;
        fprintf(f, "<line x1=\"%d\" y1=\"44\" x2=\"%d\" y2=\"44\" stroke=\"%s\" stroke-width=\"2\" "
                "stroke-dasharray=\"%s\"/>\n", at, at + 34, colours[l], dashes[l]);
        fprintf(f, "<circle cx=\"%d\" cy=\"44\" r=\"3\" fill=\"%s\"/>\n", at + 17, colours[l]);
        fprintf(f, "<text x=\"%d\" y=\"48\">%s</text>\n", at + 42, p->line[l].name);
    }
}

gm_status draw_curves(const panel panels[2], const char *title, const char *folder, const char *name, gm_error *err) {
    page p;
    gm_status status = page_open(&p, err);
    if (status != GM_OK) return status;
    axis x = cost_axis(panels);
    double unit = x.high >= 1e14 ? 1e15 : x.high >= 1e11 ? 1e12 : 1e9;
    const char *unit_name = unit > 1e13 ? "peta (10¹⁵)" : unit > 1e10 ? "tera (10¹²)" : "giga (10⁹)";
    fprintf(p.stream, "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%d\" viewBox=\"0 0 %d %d\" "
            "font-family=\"sans-serif\" font-size=\"12\" fill=\"#222222\">\n", WIDTH, HEIGHT, WIDTH, HEIGHT);
    fprintf(p.stream, "<rect width=\"%d\" height=\"%d\" fill=\"#ffffff\"/>\n", WIDTH, HEIGHT);
    fprintf(p.stream, "<text x=\"%d\" y=\"24\" font-size=\"15\" font-weight=\"bold\">%s</text>\n", LEFT, title);
    draw_legend(p.stream, &panels[0]);
    for (int i = 0; i < 2; i++) {
        int left = LEFT + i * (PANEL + SPACE);
        axis y = accuracy_axis(&panels[i]);
        fprintf(p.stream, "<clipPath id=\"panel%d\"><rect x=\"%d\" y=\"%d\" width=\"%d\" height=\"%d\"/></clipPath>\n", i,
                left, TOP - 4, PANEL + 4, BOTTOM - TOP + 4);
        fprintf(p.stream, "<text x=\"%d\" y=\"%d\" font-weight=\"bold\">%s</text>\n", left, TOP - 12, panels[i].title);
        draw_axes(p.stream, left, x, y, unit, unit_name);
        for (int l = 0; l < panels[i].lines; l++) draw_line(p.stream, &panels[i].line[l], l, left, x, y, i);
    }
    fprintf(p.stream, "</svg>\n");
    return page_write(&p, folder, name, err);
}

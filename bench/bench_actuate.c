// SPDX-License-Identifier: Apache-2.0
// Switching subnets in place, beside loading the same subnet from disk; and what 500 subnets cost in memory:
//   gamut bench actuate [--preset mbv3|resnet50|all] [--subnets N] [--switches N] [--folder DIR] [--json]
// Weights are random and statistics made up (bench/plan_points.h): neither changes what a switch or a load costs. A switch is
// timed with everything of the plan warm, as between two batches of a server. "cold" drops the file from the page cache first.
#include <fcntl.h>
#include <gamut/tensor.h>
#include <getopt.h>
#include <malloc.h>
#include <stdlib.h>
#include <unistd.h>

#include "measure.h"
#include "plan_points.h"

typedef struct job {
    const char *folder;
    int subnets, switches;
    bool json;
} job;

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

typedef struct times {
    double p50, p99, most;
    long long allocated; // bytes, over all switches
} times;

static gm_status time_switches(const gm_packed *packed, const job *j, times *out, gm_error *err) {
    gm_plan *plan = NULL;
    double *t = gm_alloc((size_t)j->switches, sizeof *t);
    gm_status status = t ? gm_plan_create(packed, 1, &plan, err) : gm_fail(err, GM_ERR_MEMORY, "times");
    if (!status) {
        gm_rng rng = gm_rng_keyed(2, 0, 0, GM_RNG_TEST);
        for (int i = 0; i < 2000; i++) gm_plan_activate(plan, (int)gm_rng_below(&rng, (uint32_t)j->subnets));
        size_t before = mallinfo2().uordblks;
        for (int i = 0; i < j->switches; i++) {
            int to = (int)gm_rng_below(&rng, (uint32_t)j->subnets);
            while (to == gm_plan_active(plan)) to = (int)gm_rng_below(&rng, (uint32_t)j->subnets);
            double start = gm_now();
            gm_plan_activate(plan, to);
            t[i] = gm_now() - start;
        }
        out->allocated = (long long)mallinfo2().uordblks - (long long)before;
        qsort(t, (size_t)j->switches, sizeof *t, by_value);
        out->p50 = t[j->switches / 2];
        out->p99 = t[(int)(j->switches * 0.99)];
        out->most = t[j->switches - 1];
    }
    gm_plan_destroy(plan);
    gm_free(t);
    return status;
}

// ---------------------------------------------------------------------------------------------
// The rival: one file a subnet, as any server of separate models has it.
static gm_status write_alone(const gm_model *m, const char *path, gm_error *err) {
    gm_tensor_writer *w = NULL;
    float *rows = gm_alloc(m->graph->floats, sizeof *rows), *at = rows;
    gm_status status = rows ? gm_tensor_writer_create(&w, err) : gm_fail(err, GM_ERR_MEMORY, "weights");
    for (int i = 0; i < m->graph->params && !status; i++) {
        const gm_param *p = &m->graph->param[i];
        uint64_t dims[4];
        for (int d = 0; d < 4; d++) dims[d] = (uint64_t)p->dims[d];
        gm_param_export(p, m->params + p->offset, at);
        status = gm_tensor_writer_add(w, p->name, GM_F32, p->rank, dims, at, err);
        at += gm_param_elements(p);
    }
    if (!status) status = gm_tensor_writer_commit(w, path, err);
    gm_free(rows);
    return status;
}

static void drop_cache(const char *path) {
    int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0) return;
    (void)fdatasync(file);
    (void)posix_fadvise(file, 0, 0, POSIX_FADV_DONTNEED);
    close(file);
}

// From the file to a plan that could run: read, unpack into `m` (whose graph is known already), pack, make buffers.
static gm_status load_alone(gm_model *m, const char *path, double *seconds, double *read, gm_error *err) {
    double start = gm_now();
    gm_tensor_file *f = NULL;
    gm_packed *packed = NULL;
    gm_plan *plan = NULL;
    gm_status status = gm_tensor_file_read(path, &f, err);
    *read = gm_now() - start;
    for (int i = 0; i < m->graph->params && !status; i++) {
        const gm_param *p = &m->graph->param[i];
        const gm_tensor_info *t = gm_tensor_find(f, p->name);
        if (!t) status = gm_fail(err, GM_ERR_FORMAT, "%s: no %s", path, p->name);
        else gm_param_import(p, t->data, m->params + p->offset);
    }
    if (!status) status = gm_packed_create(m, GM_F32, &packed, err);
    if (!status) status = gm_plan_create(packed, 1, &plan, err);
    if (!status) gm_plan_activate(plan, 0);
    *seconds = gm_now() - start;
    gm_plan_destroy(plan);
    gm_packed_destroy(packed);
    gm_tensor_file_destroy(f);
    return status;
}

typedef struct loads {
    double warm, cold, read; // medians; read: of the warm file into memory, a part of warm
    size_t bytes;
} loads;

static gm_status time_loads(gm_model *m, const gm_packed *packed, const char *folder, loads *out, gm_error *err) {
    enum { SUBNETS = 5 };
    double warm[SUBNETS], cold[SUBNETS], read[SUBNETS];
    gm_status status = GM_OK;
    char path[512];
    snprintf(path, sizeof path, "%s/gamut_bench_actuate_%d.safetensors", folder, (int)getpid());
    for (int i = 0; i < SUBNETS && !status; i++) {
        gm_model *alone = NULL;
        status = gm_model_extract(m, gm_packed_choice(packed, i), &alone, err);
        if (!status) status = write_alone(alone, path, err);
        if (!status) drop_cache(path);
        if (!status) status = load_alone(alone, path, &cold[i], &read[i], err);
        if (!status) status = load_alone(alone, path, &warm[i], &read[i], err);
        if (!status) out->bytes += alone->graph->floats * sizeof(float) / SUBNETS;
        gm_model_destroy(alone);
    }
    unlink(path);
    if (status) return status;
    out->warm = measure_median(warm, SUBNETS);
    out->cold = measure_median(cold, SUBNETS);
    out->read = measure_median(read, SUBNETS);
    return GM_OK;
}

// ---------------------------------------------------------------------------------------------
static double extracted_bytes(const gm_packed *packed, int count) {
    double sum = 0;
    for (int i = 0; i < count; i++) {
        gm_cost cost;
        if (gm_count(gm_packed_graph(packed), gm_packed_choice(packed, i), &cost, NULL) == GM_OK) sum += 4.0 * (double)cost.params;
    }
    return sum;
}

static void show(const char *preset, const job *j, const gm_packed *packed, const times *t, const loads *l) {
    if (j->json) {
        printf("{\"name\": \"actuate %s\", \"ours\": %.4g, \"peer\": %.6g, \"ratio\": %.4g, \"unit\": \"us\", \"spread\": [%.4g, %.4g], "
               "\"p99_us\": %.4g, \"allocated_bytes\": %lld, \"load_warm_us\": %.6g, \"load_cold_us\": %.6g, \"read_us\": %.6g, "
               "\"subnets\": %d}\n",
               preset, t->p50 * 1e6, l->warm * 1e6, l->warm / t->p50, t->p50 * 1e6, t->most * 1e6, t->p99 * 1e6, t->allocated,
               l->warm * 1e6, l->cold * 1e6, l->read * 1e6, gm_packed_subnets(packed));
        return;
    }
    printf("%s, %d calibrated subnets, %d switches\n", preset, j->subnets, j->switches);
    printf("  switch in place      p50 %.2f us   p99 %.2f us   max %.2f us   %lld bytes allocated\n", t->p50 * 1e6, t->p99 * 1e6,
           t->most * 1e6, t->allocated);
    printf("  load one of %3.0f MB   warm cache %.1f ms (%.0f times the p99; reading alone %.1f ms)   cold cache %.1f ms\n",
           (double)l->bytes * 1e-6, l->warm * 1e3, l->warm / t->p99, l->read * 1e3, l->cold * 1e3);
}

// One supernet with all subnets, beside six and all of them extracted, in f32 and in the same type.
static void show_memory(const char *preset, const job *j, const gm_packed *packed, double supernet) {
    gm_packed_bytes bytes = gm_packed_memory(packed);
    const char *type = gm_dtype_name(gm_packed_type(packed));
    double all = (double)(bytes.weights + bytes.norms), six = extracted_bytes(packed, 6), many = extracted_bytes(packed, j->subnets);
    double scale = (double)gm_dtype_size(gm_packed_type(packed)) / 4;
    if (j->json)
        printf("{\"name\": \"memory %s %s\", \"ours\": %.0f, \"peer\": %.0f, \"ratio\": %.4f, \"unit\": \"bytes\", \"spread\": [0, 0], "
               "\"subnets\": %d, \"weights\": %zu, \"norms\": %zu, \"norms_unshared\": %zu, \"times_f32_supernet\": %.4f, "
               "\"six_extracted_f32\": %.0f, \"all_extracted_f32\": %.0f}\n",
               preset, type, all, six * scale, six * scale / all, j->subnets, bytes.weights, bytes.norms, bytes.norms_unshared,
               all / supernet, six, many);
    else
        printf("  memory %-4s          weights %.1f MB + norms %.1f MB (unshared %.1f) = %.3f f32 supernets; 6 extracted %.2f times as much "
               "(f32: %.2f), %d extracted %.0f times\n", type, (double)bytes.weights * 1e-6, (double)bytes.norms * 1e-6,
               (double)bytes.norms_unshared * 1e-6, all / supernet, six * scale / all, six / all, j->subnets, many * scale / all);
}

static gm_status memory_table(const char *preset, const job *j, const gm_model *m, gm_error *err) {
    const gm_dtype types[] = {GM_F32, GM_BF16, GM_I8};
    double supernet = 0;
    gm_status status = GM_OK;
    for (size_t i = 0; i < 3 && !status; i++) {
        gm_packed *packed = NULL;
        status = gm_packed_create(m, types[i], &packed, err);
        if (status) break;
        if (i == 0) supernet = (double)gm_packed_memory(packed).weights;
        show_memory(preset, j, packed, supernet);
        gm_packed_destroy(packed);
    }
    return status;
}

static gm_status run(const char *preset, const job *j, gm_error *err) {
    gm_model *m = NULL;
    gm_packed *packed = NULL;
    times t = {0};
    loads l = {0};
    gm_status status = points_model(preset, 224, false, &m, err);
    gm_rng rng = gm_rng_keyed(1, 0, 0, GM_RNG_SUBNET);
    for (int i = 0; !status && m->entries < j->subnets && i < 10 * j->subnets; i++) {
        gm_choice c = i == 0 ? gm_choice_max(&m->graph->space) : gm_choice_random(&m->graph->space, &rng);
        status = points_calibrate(m, &c, err);
    }
    if (!status) status = gm_packed_create(m, GM_F32, &packed, err);
    if (!status) status = time_switches(packed, j, &t, err);
    if (!status) status = time_loads(m, packed, j->folder, &l, err);
    if (!status) show(preset, j, packed, &t, &l);
    gm_packed_destroy(packed);
    if (!status) status = memory_table(preset, j, m, err);
    gm_model_destroy(m);
    return status;
}

static const char usage[] =
    "usage: bench_actuate [--preset mbv3|resnet50|all] [--subnets N] [--switches N] [--folder DIR] [--json]\n"
    "Time to switch between random calibrated subnets, bytes allocated by it, time to load one from disk, memory of all. Files go to DIR.\n";

int main(int argc, char **argv) {
    if (measure_help(argc, argv, usage)) return 0;
    static const struct option options[] = {
        {"preset", required_argument, NULL, 'p'},   {"subnets", required_argument, NULL, 's'},
        {"switches", required_argument, NULL, 'w'}, {"folder", required_argument, NULL, 'f'},
        {"json", no_argument, NULL, 'j'},           {NULL, 0, NULL, 0},
    };
    job j = {.folder = ".", .subnets = 500, .switches = 20000};
    const char *preset = "all", *all[] = {"mbv3", "resnet50"};
    for (int c; (c = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        if (c == 'p') preset = optarg;
        else if (c == 's') j.subnets = atoi(optarg);
        else if (c == 'w') j.switches = atoi(optarg);
        else if (c == 'f') j.folder = optarg;
        else if (c == 'j') j.json = true;
        else {
            fputs(usage, stderr);
            return 2;
        }
    }
    if (j.subnets < 6 || j.switches < 100) {
        fprintf(stderr, "bench_actuate: at least 6 subnets and 100 switches\n");
        return 2;
    }
    gm_error err = {0};
    gm_status status = GM_OK;
    for (size_t i = 0; i < 2 && !status; i++)
        if (strcmp(preset, "all") == 0 || i == 0) status = run(strcmp(preset, "all") == 0 ? all[i] : preset, &j, &err);
    if (status) fprintf(stderr, "bench_actuate: %s\n", err.text);
    gm_scratch_release();
    return status != GM_OK;
}

// SPDX-License-Identifier: Apache-2.0
// The backend of plans: images in slots give the bits that evaluation gives, whatever form they came in.
#include "plan/plan_test.h"

#include <gamut/serve.h>

static const char *const words[] = {"max", "min", "uniform:d=1,e=0.5"};

static gm_profile make_profile(const gm_model *m) {
    gm_profile p = {.batches = 2, .batch = {1, 4}, .subnets = 3};
    gm_error err = {0};
    char text[sizeof p.subnet->choice];
    p.subnet = gm_alloc(3, sizeof *p.subnet);
    assert_non_null(p.subnet);
    for (int i = 0; i < 3; i++) {
        gm_choice choice;
        assert_int_equal(gm_choice_parse(&m->graph->space, words[i], &choice, &err), GM_OK);
        assert_int_equal(gm_choice_print(&m->graph->space, &choice, text, sizeof text, &err), GM_OK);
        p.subnet[i] = (gm_profile_subnet){.id = gm_choice_id(&m->graph->space, &choice), .top1 = 80 + i};
        memcpy(p.subnet[i].choice, text, sizeof text);
    }
    return p;
}

typedef struct serving {
    fixture f;
    gm_packed *packed;
    gm_profile profile;
    gm_serve_plans *plans;
    gm_serve_backend backend;
    void *executor;
} serving;

static serving open_serving(void) {
    serving s = {0};
    gm_error err = {0};
    gm_model_settings small = gm_model_settings_default();
    small.width = 0.25;
    small.resolution = 12;
    s.f = fixture_open("resnet-28", &small, words, 3, 4);
    s.profile = make_profile(s.f.model);
    if (gm_packed_create(s.f.model, GM_F32, &s.packed, &err) != GM_OK) fail_msg("%s", err.text);
    if (gm_serve_plans_create(s.packed, &s.profile, s.f.augment.mean, s.f.augment.std, &s.plans, &err) != GM_OK) fail_msg("%s", err.text);
    s.backend = gm_serve_plans_backend(s.plans);
    if (s.backend.open(s.backend.context, 4, &s.executor, &err) != GM_OK) fail_msg("%s", err.text);
    return s;
}

static void close_serving(serving *s) {
    s->backend.close(s->executor);
    gm_serve_plans_destroy(s->plans);
    gm_packed_destroy(s->packed);
    gm_profile_fini(&s->profile);
    fixture_close(&s->f);
}

// What a plan says of image `image` prepared as in evaluation.
static void reference(serving *s, int subnet, int image, float *out) {
    gm_error err = {0};
    gm_plan *plan = NULL;
    gm_choice choice;
    int32_t index = image;
    gm_batch b;
    assert_int_equal(gm_choice_parse(&s->f.model->graph->space, words[subnet], &choice, &err), GM_OK);
    assert_int_equal(gm_plan_create(s->packed, 1, &plan, &err), GM_OK);
    gm_plan_activate(plan, gm_packed_find(s->packed, &choice));
    gm_plan_input in = gm_plan_input_of(plan);
    assert_int_equal(gm_batch_init(&b, 1, in.side, in.channels, in.type, &err), GM_OK);
    assert_true(b.ld >= in.ld);
    b.ld = in.ld;
    gm_batch_fill(s->f.data, &index, NULL, 1, &s->f.augment, 0, 0, 0, &b);
    memcpy(in.x, b.x, (size_t)in.side * (size_t)in.side * (size_t)in.ld * gm_dtype_size(in.type));
    gm_plan_run(plan, 1);
    memcpy(out, gm_plan_logits(plan, NULL), (size_t)s->f.model->graph->classes * sizeof *out);
    gm_batch_fini(&b);
    gm_plan_destroy(plan);
}

static void images_in_slots_give_the_bits_of_evaluation(void **state) {
    (void)state;
    serving s = open_serving();
    const gm_dataset *d = s.f.data;
    size_t bytes = (size_t)d->height * (size_t)d->width * (size_t)d->channels;
    int classes = s.f.model->graph->classes;
    float wanted[16], rows[4][16], *logits[4] = {rows[0], rows[1], rows[2], rows[3]};
    float *normalised = gm_alloc(bytes, sizeof *normalised);
    for (int subnet = 0; subnet < 3; subnet++) {
        gm_serve_image image[4];
        for (size_t k = 0; k < bytes; k++) // image 3 once more, as floats
            normalised[k] = ((float)d->pixels[3 * bytes + k] / 255.0f - s.f.augment.mean[0]) / s.f.augment.std[0];
        for (int i = 0; i < 4; i++)
            image[i] = (gm_serve_image){d->height, d->width, d->channels, i < 3, i < 3 ? (const void *)(d->pixels + (size_t)(i + 1) * bytes) : normalised};
        s.backend.run(s.executor, subnet, 4, image, logits);
        for (int i = 0; i < 3; i++) {
            reference(&s, subnet, i + 1, wanted);
            assert_memory_equal(rows[i], wanted, (size_t)classes * sizeof *wanted);
        }
        for (int c = 0; c < classes; c++) assert_true(fabsf(rows[3][c] - rows[2][c]) < 1e-3f); // rounding of the caller's
    }
    gm_free(normalised);
    close_serving(&s);
}

static void images_of_other_sizes_are_resized(void **state) {
    (void)state;
    serving s = open_serving();
    // A flat gray image is flat at every size, in pixels and in floats.
    uint8_t pixels[30 * 17];
    float floats[7 * 23], rows[3][16], *logits[3] = {rows[0], rows[1], rows[2]};
    uint8_t same[12 * 12];
    memset(pixels, 102, sizeof pixels);
    memset(same, 102, sizeof same);
    for (int i = 0; i < 7 * 23; i++) floats[i] = (102 / 255.0f - s.f.augment.mean[0]) / s.f.augment.std[0];
    const gm_serve_image image[3] = {{12, 12, 1, true, same}, {30, 17, 1, true, pixels}, {7, 23, 1, false, floats}};
    s.backend.run(s.executor, 0, 3, image, logits);
    for (int c = 0; c < s.f.model->graph->classes; c++) {
        assert_true(fabsf(rows[0][c] - rows[1][c]) < 1e-4f);
        assert_true(fabsf(rows[0][c] - rows[2][c]) < 1e-4f);
    }
    close_serving(&s);
}

static void a_subnet_that_is_not_calibrated_is_refused(void **state) {
    (void)state;
    serving s = open_serving();
    gm_error err = {0};
    gm_serve_plans *plans = NULL;
    gm_choice choice;
    assert_int_equal(gm_choice_parse(&s.f.model->graph->space, "uniform:d=2,e=0.25", &choice, &err), GM_OK);
    assert_int_equal(gm_choice_print(&s.f.model->graph->space, &choice, s.profile.subnet[1].choice, sizeof s.profile.subnet[1].choice, &err), GM_OK);
    assert_int_equal(gm_serve_plans_create(s.packed, &s.profile, s.f.augment.mean, s.f.augment.std, &plans, &err), GM_ERR_STATE);
    assert_non_null(strstr(err.text, "gamut calibrate"));
    assert_null(plans);
    close_serving(&s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(images_in_slots_give_the_bits_of_evaluation),
        cmocka_unit_test(images_of_other_sizes_are_resized),
        cmocka_unit_test(a_subnet_that_is_not_calibrated_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

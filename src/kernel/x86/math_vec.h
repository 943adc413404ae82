// SPDX-License-Identifier: Apache-2.0
// exp, erf and the activations over the vector interface (include vec_avx512.h or vec_avx2.h first).
// Coefficients: minimax fits of our own (Lawson's reweighted least squares at 50 digits).
#ifndef GAMUT_KERNEL_MATH_VEC_H
#define GAMUT_KERNEL_MATH_VEC_H

#include <math.h>

// e^v; relative error below 1.5e-7 (under 2 ulp) in [-87, 88]; 0 below -104, infinity above 89, NaN kept.
GM__INLINE vec vec_exp(vec v) {
    v = vec_at_most(89.0f, vec_at_least(-104.0f, v));
    vec n = vec_round(v * vec_set(1.44269504f));
    vec r = vec_fnma(n, vec_set(0.693359375f), v); // ln 2 in two parts: n times the first is exact
    r = vec_fnma(n, vec_set(-2.12194440e-4f), r);
    vec p = vec_fma(r, vec_set(1.3951717e-3f), vec_set(8.3695984e-3f));
    p = vec_fma(p, r, vec_set(4.16661873e-2f));
    p = vec_fma(p, r, vec_set(1.66665129e-1f));
    p = vec_fma(p, r, vec_set(0.5f));
    p = vec_fma(p * r, r, r) + vec_set(1.0f);
    return vec_scale2(p, n);
}

// erf(v); error below 1.5e-7. Below 1 an odd polynomial, above 1 - e^-q(|v|) with q fitted to -ln erfc.
GM__INLINE vec vec_erf(vec v) {
    vec a = vec_abs(v), s = v * v;
    vec small = vec_fma(s, vec_set(7.854037196e-5f), vec_set(-8.010250824e-4f));
    small = vec_fma(small, s, vec_set(5.188334846e-3f));
    small = vec_fma(small, s, vec_set(-2.685381624e-2f));
    small = vec_fma(small, s, vec_set(1.128358527e-1f));
    small = vec_fma(small, s, vec_set(-3.761262584e-1f));
    small = vec_fma(small, s, vec_set(1.128379166f)) * v;
    vec b = vec_at_most(4.0f, a); // erfc(4) is below half an ulp of 1
    vec q = vec_fma(b, vec_set(2.168664339e-5f), vec_set(-4.413417339e-4f));
    q = vec_fma(q, b, vec_set(4.204547690e-3f));
    q = vec_fma(q, b, vec_set(-2.520821525e-2f));
    q = vec_fma(q, b, vec_set(1.084185060e-1f));
    q = vec_fma(q, b, vec_set(6.332199652e-1f));
    q = vec_fma(q, b, vec_set(1.129578385f));
    q = vec_fma(q, b, vec_set(-1.880310939e-4f));
    vec large = vec_with_sign(vec_set(1.0f) - vec_exp(vec_zero() - q), v);
    return vec_where_gt(a, vec_set(1.0f), large, small);
}

GM__INLINE vec vec_sigmoid(vec v) { return vec_set(1.0f) / (vec_set(1.0f) + vec_exp(vec_zero() - v)); }

GM__INLINE vec vec_hsigmoid(vec v) {
    return vec_at_most(6.0f, vec_at_least(0.0f, v + vec_set(3.0f))) * vec_set(1.0f / 6);
}

// The bounds of an activation that is a clamp at most: none, ReLU, ReLU6.
GM__INLINE float act_low(gm_act a) { return a == GM_ACT_NONE ? -INFINITY : 0.0f; }
GM__INLINE float act_high(gm_act a) { return a == GM_ACT_RELU6 ? 6.0f : INFINITY; }

GM__INLINE vec vec_act(gm_act a, vec v) {
    switch (a) {
    case GM_ACT_NONE: return v;
    case GM_ACT_RELU: return vec_at_least(0.0f, v);
    case GM_ACT_RELU6: return vec_at_most(6.0f, vec_at_least(0.0f, v));
    case GM_ACT_HSWISH: return v * vec_hsigmoid(v);
    case GM_ACT_HSIGMOID: return vec_hsigmoid(v);
    case GM_ACT_GELU: return vec_set(0.5f) * v * (vec_set(1.0f) + vec_erf(v * vec_set(0.70710678f)));
    case GM_ACT_SILU: return v * vec_sigmoid(v);
    case GM_ACT_SIGMOID: return vec_sigmoid(v);
    }
    return v;
}

// d * a'(v); at a kink the flat side
GM__INLINE vec vec_act_grad(gm_act a, vec v, vec d) {
    const vec zero = vec_zero(), one = vec_set(1.0f), three = vec_set(3.0f);
    switch (a) {
    case GM_ACT_NONE: return d;
    case GM_ACT_RELU: return vec_where_gt(v, zero, d, zero);
    case GM_ACT_RELU6: return vec_where_gt(v, zero, vec_where_gt(vec_set(6.0f), v, d, zero), zero);
    case GM_ACT_HSWISH: {
        vec slope = vec_fma(v, vec_set(1.0f / 3), vec_set(0.5f));
        slope = vec_where_gt(three, v, slope, one);
        return vec_where_gt(v, zero - three, d * slope, zero);
    }
    case GM_ACT_HSIGMOID:
        return vec_where_gt(three, vec_abs(v), d * vec_set(1.0f / 6), zero);
    case GM_ACT_GELU: {
        vec cdf = vec_set(0.5f) * (one + vec_erf(v * vec_set(0.70710678f)));
        vec density = vec_set(0.39894228f) * vec_exp(vec_set(-0.5f) * v * v);
        return d * vec_fma(v, density, cdf);
    }
    case GM_ACT_SILU: {
        vec s = vec_sigmoid(v);
        return d * s * vec_fma(v, one - s, one);
    }
    case GM_ACT_SIGMOID: {
        vec s = vec_sigmoid(v);
        return d * s * (one - s);
    }
    }
    return d;
}

// Runs call (an expression over the constants T and A) for the given type and activation, so that the compiler sees
// both as constants and no test is left in the loop.
#define GM__FOR_TYPE(t, call)                                                                      \
    do {                                                                                           \
        if ((t) == GM_F32) {                                                                       \
            const gm_dtype T = GM_F32;                                                             \
            call;                                                                                  \
        } else {                                                                                   \
            const gm_dtype T = GM_BF16;                                                            \
            call;                                                                                  \
        }                                                                                          \
    } while (0)

#define GM__ACT_CASE(act, call)                                                                    \
    case act: {                                                                                    \
        const gm_act A = (act);                                                                    \
        call;                                                                                      \
        break;                                                                                     \
    }

#define GM__FOR_ACT(a, call)                                                                       \
    switch (a) {                                                                                   \
        GM__ACT_CASE(GM_ACT_NONE, call)                                                            \
        GM__ACT_CASE(GM_ACT_RELU, call)                                                            \
        GM__ACT_CASE(GM_ACT_RELU6, call)                                                           \
        GM__ACT_CASE(GM_ACT_HSWISH, call)                                                          \
        GM__ACT_CASE(GM_ACT_HSIGMOID, call)                                                        \
        GM__ACT_CASE(GM_ACT_GELU, call)                                                            \
        GM__ACT_CASE(GM_ACT_SILU, call)                                                            \
        GM__ACT_CASE(GM_ACT_SIGMOID, call)                                                         \
    }

#endif

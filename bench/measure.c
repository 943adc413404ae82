// SPDX-License-Identifier: Apache-2.0
#include "measure.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// ---------------------------------------------------------------------------------------------
// Limits: operations a second with operands in registers, and bytes a second of a plain copy.
#if defined(__x86_64__) && defined(__GNUC__)
__attribute__((target("amx-tile,amx-bf16,amx-int8"))) static void amx_loop(long rounds,
                                                                           int integer) {
    static const uint8_t config[64] = {1,         [16] = 64, [18] = 64, [20] = 64, [22] = 64,
                                       [24] = 64, [26] = 64, [28] = 64, [30] = 64, [48] = 16,
                                       16,        16,        16,        16,        16,
                                       16,        16};
    __asm__ volatile(
        "ldtilecfg %0\n tilezero %%tmm4\n tilezero %%tmm5\n tilezero %%tmm6\n tilezero %%tmm7\n"
        "tilezero %%tmm0\n tilezero %%tmm1\n tilezero %%tmm2\n tilezero %%tmm3" ::"m"(config));
    for (long i = 0; i < rounds; i++) {
        if (integer)
            __asm__ volatile("tdpbssd %tmm6, %tmm4, %tmm0\n tdpbssd %tmm7, %tmm4, %tmm1\n"
                             "tdpbssd %tmm6, %tmm5, %tmm2\n tdpbssd %tmm7, %tmm5, %tmm3");
        else
            __asm__ volatile("tdpbf16ps %tmm6, %tmm4, %tmm0\n tdpbf16ps %tmm7, %tmm4, %tmm1\n"
                             "tdpbf16ps %tmm6, %tmm5, %tmm2\n tdpbf16ps %tmm7, %tmm5, %tmm3");
    }
    __asm__ volatile("tilerelease");
}

// Twelve chains of fused multiply-add hide a latency of four at two a cycle. dot: the bf16 pair
// product.
__attribute__((target("avx512f,avx512bf16,avx512vnni"))) static void zmm_loop(long rounds,
                                                                              int type) {
    for (long i = 0; i < rounds; i++) {
#define TWELVE(text)                                                                               \
    __asm__ volatile(text " %%zmm0, %%zmm0, %%zmm4\n" text " %%zmm0, %%zmm0, %%zmm5\n" text        \
                          " %%zmm0, %%zmm0, %%zmm6\n" text " %%zmm0, %%zmm0, %%zmm7\n" text        \
                          " %%zmm0, %%zmm0, %%zmm8\n" text " %%zmm0, %%zmm0, %%zmm9\n" text        \
                          " %%zmm0, %%zmm0, %%zmm10\n" text " %%zmm0, %%zmm0, %%zmm11\n" text      \
                          " %%zmm0, %%zmm0, %%zmm12\n" text " %%zmm0, %%zmm0, %%zmm13\n" text      \
                          " %%zmm0, %%zmm0, %%zmm14\n" text " %%zmm0, %%zmm0, %%zmm15" ::          \
                              : "xmm0", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10",   \
                                "xmm11", "xmm12", "xmm13", "xmm14", "xmm15")
        if (type == GM_F32)
            TWELVE("vfmadd231ps");
        else if (type == GM_BF16)
            TWELVE("vdpbf16ps");
        else
            TWELVE("vpdpbusd");
    }
}

__attribute__((target("avx2,fma"))) static void ymm_loop(long rounds) {
    for (long i = 0; i < rounds; i++)
        __asm__ volatile(
            "vfmadd231ps %%ymm0, %%ymm0, %%ymm4\n vfmadd231ps %%ymm0, %%ymm0, %%ymm5\n"
            "vfmadd231ps %%ymm0, %%ymm0, %%ymm6\n vfmadd231ps %%ymm0, %%ymm0, %%ymm7\n"
            "vfmadd231ps %%ymm0, %%ymm0, %%ymm8\n vfmadd231ps %%ymm0, %%ymm0, %%ymm9\n"
            "vfmadd231ps %%ymm0, %%ymm0, %%ymm10\n vfmadd231ps %%ymm0, %%ymm0, %%ymm11\n"
            "vfmadd231ps %%ymm0, %%ymm0, %%ymm12\n vfmadd231ps %%ymm0, %%ymm0, %%ymm13" ::
                : "xmm0", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm12",
                  "xmm13");
}

// Operations a second of the active level's widest unit for the type; 0: none of its own.
static double peak_once(gm_dtype type, gm_cpu_level level) {
    const long rounds = 200000;
    double per_round, start = gm_now();
    if (level == GM_CPU_AMX && type != GM_F32) {
        amx_loop(rounds, type == GM_I8);
        per_round = 4.0 * 16 * 16 * (type == GM_I8 ? 64 : 32) * 2;
    } else if (level >= GM_CPU_AVX512 && (type != GM_BF16 || gm_cpu_bf16(level))) {
        zmm_loop(rounds, type);
        per_round = 12.0 * 16 * 2 * (type == GM_F32 ? 1 : type == GM_BF16 ? 2 : 4);
    } else if (level == GM_CPU_AVX2 && type == GM_F32) {
        ymm_loop(rounds);
        per_round = 10.0 * 8 * 2;
    } else {
        return 0;
    }
    return per_round * (double)rounds / (gm_now() - start);
}
#else
static double peak_once(gm_dtype type, gm_cpu_level level) {
    (void)type;
    (void)level;
    return 0;
}
#endif

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

double measure_median(double *v, int n) {
    qsort(v, (size_t)n, sizeof *v, by_value);
    return n % 2 ? v[n / 2] : 0.5 * (v[n / 2 - 1] + v[n / 2]);
}

double measure_peak(gm_dtype type, gm_cpu_level level) {
    double v[9];
    for (int i = 0; i < 9; i++) v[i] = peak_once(type, level);
    return measure_median(v, 9);
}

bool measure_help(int argc, char **argv, const char *usage) {
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--help") != 0) continue;
        fputs(usage, stdout);
        return true;
    }
    return false;
}

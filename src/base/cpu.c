// SPDX-License-Identifier: Apache-2.0
// What the processor offers and the operating system allows. Bits: Intel's Software Developer's
// Manual, volume 2A, CPUID, leaves 1, 7.0 and 7.1; volume 1, chapter 13, XCR0.
#include <gamut/base.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#if defined(__x86_64__)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

static const char *const level_names[] = {"ref", "avx2", "avx512", "amx"};

static pthread_once_t once = PTHREAD_ONCE_INIT;
static gm_cpu_level detected;
static bool bf16_pairs; // AVX-512 BF16
static atomic_int active;
static char model[96] = "unknown";

#if defined(__x86_64__)
static bool has(uint32_t word, uint32_t bits) {
    return (word & bits) == bits;
}

static uint64_t enabled_states(void) {
    uint32_t low, high;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return (uint64_t)high << 32 | low;
}

// Linux gives the large tile state only to processes that ask (arch_prctl(2)).
static bool tiles_allowed(void) {
    enum { REQUEST_PERMISSION = 0x1023, TILE_DATA = 18 };
    return syscall(SYS_arch_prctl, REQUEST_PERMISSION, TILE_DATA) == 0;
}

static gm_cpu_level detect(void) {
    const uint32_t osxsave = 1u << 27, avx = 1u << 28, fma = 1u << 12, f16c = 1u << 29;
    const uint32_t avx2 = 1u << 5;
    const uint32_t avx512_f_dq_bw_vl = 1u << 16 | 1u << 17 | 1u << 30 | 1u << 31;
    const uint32_t avx512_vnni = 1u << 11, avx512_bf16 = 1u << 5;
    const uint32_t amx_bf16_tile_int8 = 1u << 22 | 1u << 24 | 1u << 25;
    uint32_t a, b, c, d, b7, c7, d7, a71 = 0, most_subleaf;
    if (!__get_cpuid(1, &a, &b, &c, &d) || !has(c, osxsave | avx | fma | f16c)) return GM_CPU_REF;
    if (!__get_cpuid_count(7, 0, &most_subleaf, &b7, &c7, &d7)) return GM_CPU_REF;
    if (most_subleaf >= 1) __get_cpuid_count(7, 1, &a71, &b, &c, &d);
    const uint64_t states = enabled_states();
    const uint64_t wide = 0x6, wider = 0xe6, tiles = 0x60000; // XCR0: AVX, AVX-512, AMX
    if ((states & wide) != wide || !has(b7, avx2)) return GM_CPU_REF;
    if ((states & wider) != wider || !has(b7, avx512_f_dq_bw_vl) || !has(c7, avx512_vnni))
        return GM_CPU_AVX2;
    bf16_pairs = has(a71, avx512_bf16);
    if (!bf16_pairs || (states & tiles) != tiles || !has(d7, amx_bf16_tile_int8) || !tiles_allowed())
        return GM_CPU_AVX512;
    return GM_CPU_AMX;
}
#else
static gm_cpu_level detect(void) {
    return GM_CPU_REF;
}
#endif

static void read_model(void) {
    FILE *file = fopen("/proc/cpuinfo", "re");
    if (!file) return;
    char line[256];
    while (fgets(line, sizeof line, file)) {
        if (strncmp(line, "model name", 10) != 0) continue;
        const char *colon = strchr(line, ':');
        if (!colon) continue;
        colon += 1 + strspn(colon + 1, " \t");
        snprintf(model, sizeof model, "%.*s", (int)strcspn(colon, "\n"), colon);
        break;
    }
    fclose(file);
}

static void look(void) {
    detected = detect();
    read_model();
    gm_cpu_level level = detected;
    const char *wish = getenv("GAMUT_CPU");
    if (wish && *wish) {
        int i = 0;
        while (i <= GM_CPU_AMX && strcmp(wish, level_names[i]) != 0) i++;
        if (i > GM_CPU_AMX) {
            gm_log(GM_LOG_WARN, "GAMUT_CPU=%s is not a level: use ref, avx2, avx512 or amx", wish);
        } else if (i < (int)level) {
            level = (gm_cpu_level)i;
        }
    }
    atomic_store(&active, (int)level);
}

gm_cpu_level gm_cpu_detected(void) {
    pthread_once(&once, look);
    return detected;
}

gm_cpu_level gm_cpu_active(void) {
    pthread_once(&once, look);
    return (gm_cpu_level)atomic_load_explicit(&active, memory_order_relaxed);
}

void gm_cpu_force(gm_cpu_level level) {
    pthread_once(&once, look);
    if (level > detected) level = detected;
    atomic_store(&active, (int)level);
}

bool gm_cpu_bf16(gm_cpu_level level) {
    return level >= GM_CPU_AVX512 && gm_cpu_detected() >= GM_CPU_AVX512 && bf16_pairs;
}

const char *gm_cpu_level_name(gm_cpu_level level) {
    return (unsigned)level <= GM_CPU_AMX ? level_names[level] : "unknown";
}

const char *gm_cpu_model(void) {
    pthread_once(&once, look);
    return model;
}

// SPDX-License-Identifier: Apache-2.0
// kernel: arithmetic on raw pointers. A table of function pointers, filled with portable C (ref/), then
// overlaid level by level (x86/: AVX2, AVX-512, AMX) by what the processor reports. Every function here runs on
// one thread, allocates nothing and checks nothing; callers partition work with gm_parallel.
//
// Activations are NHWC rows ("positions"): element (n,h,w,c) is at ((n*H + h)*W + w)*ld + c. The row stride ld
// is in elements and a multiple of 64 bytes (16 f32, 32 bf16, 64 int8). The elements [C, ld) of a row are its
// tail and are ZERO: whoever writes a row writes its tail, so that readers may always work on whole 64-byte
// groups although the weights there belong to wider subnets. All base pointers are 64-byte aligned.
//
// Accumulation is f32 in a fixed order: results depend neither on the number of threads nor on how a batch is cut
// into calls (forward, dgrad), as long as cuts fall between images.
#ifndef GAMUT_KERNEL_H
#define GAMUT_KERNEL_H

#include <gamut/base.h>

// Row stride for c channels of a type.
static inline int gm_channel_stride(gm_dtype type, int c) {
    return gm_round_up(c > 0 ? c : 1, type == GM_F32 ? 16 : type == GM_BF16 ? 32 : 64);
}

typedef enum gm_act {
    GM_ACT_NONE, GM_ACT_RELU, GM_ACT_RELU6, GM_ACT_HSWISH, GM_ACT_HSIGMOID, GM_ACT_GELU, GM_ACT_SILU, GM_ACT_SIGMOID
} gm_act; // GELU is the exact erf form; h-sigmoid is relu6(x+3)/6; h-swish is x*h-sigmoid(x)

// ---------------------------------------------------------------------------------------------
// Dense weights in panels of 16 outputs (specs: kernels, section 2). Packed ONCE for the whole supernet;
// a slice reads the first panels, the first rows of every tap, the centre taps: pointers and counts only.
//   f32   [ceil(O/16)][taps][I][16]
//   bf16  [ceil(O/16)][taps][ceil32(I)/2][16][2]    pairs of inputs; rows past I are zero
//   int8  [ceil(O/16)][taps][ceil64(I)/4][16][4]
// Columns past O are zero. flat = 1 (few inputs: I <= 4, the first layer): taps are folded into the inputs, i.e.
// the layout of a single tap with r*s*I inputs ordered (tap, input); such weights are not sliced by input or tap.
// The f32 panels ARE the master weights: gradients and optimizer state share the layout.
typedef struct gm_panels {
    gm_dtype type;
    int outputs, inputs; // of the supernet (O, I)
    int r, s;            // taps stored
    int flat;
    size_t tap_stride;   // elements between taps
    size_t panel_stride; // elements between panels
    void *data;          // 64-byte aligned
    const float *scale;  // int8 only: one scale an output (w = q * scale), ceil16(outputs) floats of the owner's
                         // that pack writes: max|w| / 127; else NULL
} gm_panels;

// Fills the sizes (data stays untouched) and returns the number of elements of data.
GM_API size_t gm_panels_layout(gm_panels *p, gm_dtype type, int outputs, int inputs, int r, int s, int flat);
// Index of element (output o, input i, tap t = y*s + x) in f32 panels.
GM_API size_t gm_panels_index(const gm_panels *p, int o, int i, int tap);
// Between f32 panels (p says their sizes, its data is ignored) and plain rows [outputs][inputs][taps]. Lanes without an output
// are written zero.
GM_API void gm_panels_from_rows(const gm_panels *p, const float *rows, float *panels);
GM_API void gm_panels_to_rows(const gm_panels *p, const float *panels, float *rows);

// Geometry of one convolution of the active subnet. A linear layer is r=s=1, h=w=ho=wo=1. GEMM is r=s=1 with
// n*h*w rows. Windows of dense kernels and pools have at most GM_TAPS_MAX taps a side, of flat weights
// GM_TAPS_MAX_FLAT; depthwise ones 3, 5 or 7. gm_graph_finish refuses others.
enum { GM_TAPS_MAX = 16, GM_TAPS_MAX_FLAT = 32 };
typedef struct gm_conv {
    int n, h, w, c;   // images in this call, input rows and columns, ACTIVE input channels
    int ho, wo, k;    // output rows and columns, ACTIVE output channels
    int r, s;         // active taps (<= stored: the centre crop is used)
    int stride, pad;  // ho = (h + 2*pad - r)/stride + 1
    int ldx, ldy;     // row strides of x and y in elements
    int y0;           // first output row, of one image (n = 1); x is the whole image, y the rows [y0, y0+ho). Only
                      // forward: a map cut over threads
} gm_conv;

// What happens to an accumulator before it is stored: v = acc*scale[k] + shift[k]; v += residual; v = act(v);
// y = v, or y += v with accumulate. NULL scale/shift/residual: left out. Tail of the row is written zero.
typedef struct gm_epilogue {
    const float *scale, *shift; // [k]
    const void *residual;       // rows like y, type of y
    int ldr;
    gm_act act;
    bool accumulate;            // add to what y holds (residual must then be NULL, act NONE)
    gm_dtype out;               // type of y: GM_F32 or the type of x (int8: F32, BF16 or I8)
    int row;                    // elements of a row of y from y on, tail included, when this call writes some panels of
                                // wider rows (cuts at multiples of 64; the last call: up to ldy); 0: ldy
    float out_scale;            // out I8: q = round to even(v / out_scale), within +-127; a residual counts in it too
} gm_epilogue;

typedef struct gm_kernels {
    gm_cpu_level level;

    // --- dense convolution and GEMM. type = type of x and of the panels (F32, BF16; I8: x is signed int8,
    // forward only, scale[k] must hold x_scale*w_scale). scratch: gm_conv_scratch(g, type) bytes.
    // y (n,ho,wo,k) = epilogue(conv(x (n,h,w,c), w))
    void (*conv)(gm_dtype type, const gm_conv *g, const void *x, const gm_panels *w, const gm_epilogue *e,
                 void *y, void *scratch);
    // dx (n,h,w,c) = or += gradient of the input. g is the FORWARD geometry (ldx is dx's stride, ldy is dy's).
    // wt: transposed panels, i.e. panels of the inputs: outputs=I, inputs=O, same tap order (see pack_t).
    void (*conv_dgrad)(gm_dtype type, const gm_conv *g, const void *dy, const gm_panels *wt, bool accumulate,
                       void *dx, void *scratch);
    // dw += gradient of the weights over all n images, f32 panels with the sizes of the supernet in w (w->data is
    // ignored). Only input rows [c0,c1) and output panels [p0,p1) of the active slice are computed: callers
    // partition these over threads; any partition gives the same bits. c0 is a multiple of 16; flat: c0=0, c1=c.
    void (*conv_wgrad)(gm_dtype type, const gm_conv *g, const void *x, const void *dy, const gm_panels *w,
                       float *dw, int c0, int c1, int p0, int p1, void *scratch);
    // Master f32 panels -> panels of dst->type (BF16 rounds to nearest even; F32 copies). Whole supernet.
    // Only panels [p0,p1) of dst.
    void (*pack)(const gm_panels *master, gm_panels *dst, int p0, int p1);
    // The same transposed: dst has outputs = master inputs. flat masters are not transposed.
    void (*pack_t)(const gm_panels *master, gm_panels *dst, int p0, int p1);

    // --- depthwise convolution, same padding pad = kernel/2. w, dw f32: tap (i,j) of channel c at
    // w[(i*w_row + j)*w_ld + c]; a centre crop is an offset pointer with the stored row pitch. k in {3,5,7}.
    // type F32 or BF16 for x, y, dy, dx. g: c = k = active channels, r = s = kernel.
    void (*depthwise)(gm_dtype type, const gm_conv *g, const void *x, const float *w, int w_row, int w_ld,
                      const gm_epilogue *e, void *y, void *scratch);
    void (*depthwise_dgrad)(gm_dtype type, const gm_conv *g, const void *dy, const float *w, int w_row,
                            int w_ld, bool accumulate, void *dx, void *scratch);
    // dw += over all n images; layout as w; channels [c0,c1) only, c0 a multiple of 16.
    void (*depthwise_wgrad)(gm_dtype type, const gm_conv *g, const void *x, const void *dy, float *dw, int w_row,
                            int w_ld, int c0, int c1, void *scratch);
    // Learned kernel transform (Once-for-all): y[i][c] = sum_j m[i*taps + j] * x[j][c], i,j < taps; x tap (a,b)
    // of a kernel x kernel crop at x[(a*x_row + b)*x_ld + c]; y dense [taps][y_ld].
    void (*tap_transform)(int kernel, int c, const float *x, int x_row, int x_ld, const float *m, float *y,
                          int y_ld);
    // dm += dy x^T summed over channels; dx += m^T dy (layouts as above).
    void (*tap_transform_grad)(int kernel, int c, const float *x, int x_row, int x_ld, const float *m,
                               const float *dy, int y_ld, float *dm, float *dx, int dx_row, int dx_ld);

    // --- elementwise over rows. rows = positions, c active channels, ld row strides. Tails are written zero.
    void (*act)(gm_dtype t, gm_act a, int rows, int c, const void *x, int ldx, void *y, int ldy);
    // dx = or += dy * a'(x), x the input of act
    void (*act_grad)(gm_dtype t, gm_act a, int rows, int c, const void *x, int ldx, const void *dy, int ldy,
                     bool accumulate, void *dx, int lddx);
    void (*add)(gm_dtype t, int rows, int c, const void *a, int lda, const void *b, int ldb, void *y, int ldy);
    void (*convert)(gm_dtype from, gm_dtype to, size_t count, const void *x, void *y); // F32 <-> BF16, flat

    // f32 rows to int8 and back: q = round to even(x / unit), within +-127 (NaN: 0); x = q * unit
    void (*quantize)(int rows, int c, float unit, const float *x, int ldx, int8_t *y, int ldy);
    void (*dequantize)(int rows, int c, float unit, const int8_t *x, int ldx, float *y, int ldy);

    // --- batch norm. sum[c], sumsq[c] (f32) are WRITTEN (not added): one call = one image range of the caller's.
    void (*norm_stats)(gm_dtype t, int rows, int c, const void *x, int ldx, float *sum, float *sumsq);
    // y = act(x*scale[c] + shift[c] + residual), residual may be NULL
    void (*norm_apply)(gm_dtype t, int rows, int c, const void *x, int ldx, const float *scale,
                       const float *shift, const void *residual, int ldr, gm_act a, void *y, int ldy);
    // First backward pass. pre = x*scale + shift + residual; dz = dy * act'(pre). With a residual, act must be NONE,
    // RELU or RELU6 and its slope is taken from out = act(pre) instead (residual itself is not read); out may
    // be NULL otherwise. Writes sum_dz[c] and sum_dzx[c] = sum dz * (x - mean[c]) * rstd[c].
    void (*norm_grad_stats)(gm_dtype t, int rows, int c, const void *x, int ldx, const float *scale,
                            const float *shift, const void *out, int ldo, gm_act a, const void *dy, int ldy,
                            const float *mean, const float *rstd, float *sum_dz, float *sum_dzx);
    // Second pass: dx = a_c*dz + b_c*x + d_c (caller folds gamma*rstd and the two means into coefficients),
    // dz as above recomputed; writes dx, and dres = or += dz when dres is not NULL.
    void (*norm_grad_apply)(gm_dtype t, int rows, int c, const void *x, int ldx, const float *scale,
                            const float *shift, const void *out, int ldo, gm_act a, const void *dy, int ldy,
                            const float *ca, const float *cb, const float *cd, void *dx, int lddx, void *dres,
                            int lddres, bool accumulate_res);

    // --- pooling. g: geometry with c = k channels; ho,wo may include a ceil-mode edge: windows are clipped to
    // the image. Max ignores padding; average divides by the number of elements inside the image.
    void (*max_pool)(gm_dtype t, const gm_conv *g, const void *x, void *y, uint8_t *argmax); // argmax: [n,ho,wo][ldy]
    void (*max_pool_grad)(gm_dtype t, const gm_conv *g, const void *dy, const uint8_t *argmax, bool accumulate, void *dx);
    void (*avg_pool)(gm_dtype t, const gm_conv *g, const void *x, void *y);
    void (*avg_pool_grad)(gm_dtype t, const gm_conv *g, const void *dy, bool accumulate, void *dx);
    // global: y[n][ldy] = mean over h*w positions
    void (*global_pool)(gm_dtype t, int n, int positions, int c, const void *x, int ldx, void *y, int ldy);
    void (*global_pool_grad)(gm_dtype t, int n, int positions, int c, const void *dy, int ldy, bool accumulate,
                             void *dx, int ldx);
    // squeeze-and-excite scaling: y[n,p,c] = x[n,p,c]*s[n,c]; gradient: dx = or += dy*s, ds[n,c] = sum_p dy*x
    void (*channel_scale)(gm_dtype t, int n, int positions, int c, const void *x, int ldx, const void *s, int lds,
                          void *y, int ldy);
    void (*channel_scale_grad)(gm_dtype t, int n, int positions, int c, const void *x, int ldx, const void *s,
                               int lds, const void *dy, int ldy, bool accumulate, void *dx, int lddx, void *ds,
                               int ldds);

    // --- loss over rows of f32 logits [rows][ld]. targets: labels (int) with smoothing eps, mixed with a second
    // label: weight lam for label, 1-lam for label2 (label2 may be NULL); or soft targets q [rows][ldq].
    void (*softmax)(int rows, int c, const float *x, int ldx, float *y, int ldy);
    // loss[row] = cross entropy; dlogits = scale * (softmax(x) - target). dlogits or loss may be NULL.
    void (*cross_entropy)(int rows, int c, const float *x, int ldx, const int *label, const int *label2,
                          const float *lam, float smoothing, float scale, float *loss, float *dlogits, int ldd);
    void (*cross_entropy_soft)(int rows, int c, const float *x, int ldx, const float *q, int ldq, float temperature,
                               float scale, float *loss, float *dlogits, int ldd); // T^2 CE(q, softmax(x/T))

    // --- transformer parts (rows = tokens)
    void (*layer_norm)(gm_dtype t, int rows, int c, const void *x, int ldx, const float *gamma, const float *beta,
                       float eps, void *y, int ldy, float *mean, float *rstd); // mean,rstd [rows] may be NULL
    void (*layer_norm_grad)(gm_dtype t, int rows, int c, const void *x, int ldx, const float *gamma,
                            const float *mean, const float *rstd, const void *dy, int ldy, bool accumulate,
                            void *dx, int lddx, float *dgamma, float *dbeta); // dgamma, dbeta +=
    void (*rms_norm)(gm_dtype t, int rows, int c, const void *x, int ldx, const float *gamma, float eps, void *y,
                     int ldy, float *rstd);
    void (*rms_norm_grad)(gm_dtype t, int rows, int c, const void *x, int ldx, const float *gamma,
                          const float *rstd, const void *dy, int ldy, bool accumulate, void *dx, int lddx,
                          float *dgamma);
    // One sequence of `tokens` rows; q,k,v rows hold heads*head_dim channels (head-major). causal: row i sees j <= i.
    // probs: [heads][tokens][tokens] f32, kept for the gradient. scale is usually 1/sqrt(head_dim).
    void (*attention)(gm_dtype t, int tokens, int heads, int head_dim, const void *q, const void *k, const void *v,
                      int ld, float scale, bool causal, float *probs, void *y, int ldy);
    void (*attention_grad)(gm_dtype t, int tokens, int heads, int head_dim, const void *q, const void *k,
                           const void *v, int ld, float scale, const float *probs, const void *dy, int ldy,
                           void *dq, void *dk, void *dv, int ldd, float *scratch); // scratch: tokens floats
    // table f32 [vocabulary][ldt]; y[row] = table[id[row]]; gradient adds rows in order
    void (*embedding)(gm_dtype t, int rows, int c, const int *id, const float *table, int ldt, void *y, int ldy);
    void (*embedding_grad)(gm_dtype t, int rows, int c, const int *id, const void *dy, int ldy, float *dtable, int ldt);

    // --- optimizers and reductions over flat f32 arrays
    // g' = g + wd*w; m = mu*m + g'; w -= lr*(nesterov ? g' + mu*m : m)
    void (*sgd)(size_t n, float *w, const float *g, float *m, float lr, float mu, float wd, bool nesterov);
    // AdamW (Loshchilov & Hutter): decoupled decay; bias1 = 1-b1^t, bias2 = 1-b2^t
    void (*adamw)(size_t n, float *w, const float *g, float *m, float *v, float lr, float b1, float b2, float eps,
                  float wd, float bias1, float bias2);
    double (*sumsq)(size_t n, const float *x);   // fixed order; NaN or Inf in x gives a non-finite result
    void (*scale)(size_t n, float a, float *x);  // x *= a
    void (*axpy)(size_t n, float a, const float *x, float *y); // y += a*x
} gm_kernels;

// The table for the active CPU level (gm_cpu_active), and for a given one (tests, benches; never above detected).
GM_API const gm_kernels *gm_kernels_active(void);
GM_API const gm_kernels *gm_kernels_at(gm_cpu_level level);
// Scratch bytes enough for conv, conv_dgrad, conv_wgrad, depthwise* of this geometry (any number of images).
GM_API size_t gm_conv_scratch(const gm_conv *g, gm_dtype type);

#endif

// What every kernel of the WebAssembly target may use: four-lane vectors, memory access, and the rows of
// expr.OPS that are not C operators. A function has one name for a lane vector and for a scalar, and the
// scalar one computes lane 0 of the vector one, so that a loop's tail agrees with its body to the bit.
//
//   f4 i4 u4   four f32, i32, u32; a bool is an i4 of 0/-1 in lanes and an int 0/1 in scalars
//   S(x)       x in all lanes;  M(c): a scalar bool as a mask
//
// Errors of the mathematical functions against the exact value, in units in the last place, all inputs:
// exp 1, log 1, sin cos 2 (any magnitude), tan 4, asin acos atan atan2 3, sinh cosh 3, tanh 5, erf 6,
// asinh acosh atanh 4, 1 / (1 + exp) 2, pow 1 (exact results exactly). tests/test_math.py holds them to it.
// NaN in gives NaN out except where C's pow says otherwise; denormals are kept.
#pragma once

typedef float f4 __attribute__((vector_size(16)));
typedef int i4 __attribute__((vector_size(16)));
typedef unsigned u4 __attribute__((vector_size(16)));
typedef double d2 __attribute__((vector_size(16)));
typedef long long l2 __attribute__((vector_size(16)));
typedef unsigned long long ul2 __attribute__((vector_size(16)));

#define OV static inline __attribute__((overloadable, always_inline, unused))
#define BIG static __attribute__((overloadable, noinline, unused))  // one copy a file, not one a use
#define INF __builtin_inff()

// ---- lanes and memory -----------------------------------------------------------------------------

#define IOTA ((i4){0, 1, 2, 3})
#define MAGNITUDE ((i4){0x7fffffff, 0x7fffffff, 0x7fffffff, 0x7fffffff})

OV f4 S(float x) { return (f4){x, x, x, x}; }
OV i4 S(int x) { return (i4){x, x, x, x}; }
OV u4 S(unsigned x) { return (u4){x, x, x, x}; }
OV d2 S2(double x) { return (d2){x, x}; }
OV i4 M(int c) { return S(-(c != 0)); }
OV float SUM(f4 x) { return (x[0] + x[1]) + (x[2] + x[3]); }
OV int ALL(i4 m) { return __builtin_wasm_all_true_i32x4(m); }
OV int ANY(i4 m) { return __builtin_wasm_any_true_v128(m); }
OV int CLAMP(int i, int size) { return i < 0 ? 0 : i < size ? i : size - 1; }
OV i4 CLAMP(i4 i, i4 size) {
  i = __builtin_elementwise_max(i, S(0));
  return __builtin_elementwise_min(i, size - S(1));
}

// LD four neighbours, LDS four with a stride, LDG four of any index; ...M only where the mask is set
// (elsewhere 0, and memory is not touched). ST, STS, STG store likewise.
#define MEMORY(T, V) \
  typedef V V##_unaligned __attribute__((aligned(4))); \
  OV V LD(const T* p) { return *(const V##_unaligned*)p; } \
  OV V LDS(const T* p, int s) { return (V){p[0], p[s], p[2 * s], p[3 * s]}; } \
  OV V LDG(const T* p, i4 i) { return (V){p[i[0]], p[i[1]], p[i[2]], p[i[3]]}; } \
  OV V LDGM(const T* p, i4 i, i4 m) { \
    return (V){m[0] ? p[i[0]] : 0, m[1] ? p[i[1]] : 0, m[2] ? p[i[2]] : 0, m[3] ? p[i[3]] : 0}; \
  } \
  OV V LDSM(const T* p, int s, i4 m) { return LDGM(p, IOTA * S(s), m); } \
  OV V LDM(const T* p, i4 m) { return ALL(m) ? LD(p) : ANY(m) ? LDGM(p, IOTA, m) : (V){0, 0, 0, 0}; } \
  OV T LD1M(const T* p, i4 m) { return ANY(m) ? *p : 0; } \
  OV void ST(T* p, V v) { *(V##_unaligned*)p = v; } \
  OV void STS(T* p, int s, V v) { p[0] = v[0], p[s] = v[1], p[2 * s] = v[2], p[3 * s] = v[3]; } \
  OV void STG(T* p, i4 i, V v) { p[i[0]] = v[0], p[i[1]] = v[1], p[i[2]] = v[2], p[i[3]] = v[3]; }
MEMORY(float, f4)
MEMORY(int, i4)
MEMORY(unsigned, u4)

// f16 in memory (weights): of a sign-extended half, sign, exponent and mantissa moved to where a float has them; the
// exponent, which is 112 too low then, is put right by a product, and is the largest for what is infinite or NaN.
typedef short half4 __attribute__((vector_size(8), aligned(2)));
OV f4 HALF(i4 h) {
  const i4 bits = (h << 13) & S((int)0x8fffe000), top = (bits & S(0x0f800000)) == S(0x0f800000);
  return (f4)((i4)((f4)bits * S(0x1p112f)) | (top & S(0x7f800000)));
}
OV float HALF(unsigned short h) {
  const int bits = ((int)(short)h << 13) & (int)0x8fffe000;
  const float f = __builtin_bit_cast(float, bits) * 0x1p112f;
  const int top = (bits & 0x0f800000) == 0x0f800000 ? 0x7f800000 : 0;
  return __builtin_bit_cast(float, __builtin_bit_cast(int, f) | top);
}
OV f4 LD(const unsigned short* p) { return HALF(__builtin_convertvector(*(const half4*)p, i4)); }
OV f4 LDG(const unsigned short* p, i4 i) {
  return HALF((i4){(short)p[i[0]], (short)p[i[1]], (short)p[i[2]], (short)p[i[3]]});
}
OV f4 LDS(const unsigned short* p, int s) { return LDG(p, IOTA * S(s)); }
OV f4 LDGM(const unsigned short* p, i4 i, i4 m) {
  return HALF((i4){m[0] ? (short)p[i[0]] : 0, m[1] ? (short)p[i[1]] : 0, m[2] ? (short)p[i[2]] : 0, m[3] ? (short)p[i[3]] : 0});
}
OV f4 LDSM(const unsigned short* p, int s, i4 m) { return LDGM(p, IOTA * S(s), m); }
OV f4 LDM(const unsigned short* p, i4 m) { return ALL(m) ? LD(p) : LDGM(p, IOTA, m); }
OV unsigned short LD1M(const unsigned short* p, i4 m) { return ANY(m) ? *p : 0; }

// Bytes in memory (weights) are i32 lanes.
typedef signed char c16 __attribute__((vector_size(16)));
typedef unsigned char b16 __attribute__((vector_size(16)));
typedef short s8 __attribute__((vector_size(16)));
typedef signed char c8 __attribute__((vector_size(8)));
#define BYTES(T, V) \
  OV i4 LD(const T* p) { \
    int word; \
    __builtin_memcpy(&word, p, 4); \
    const V v = (V)(i4){word, 0, 0, 0}; \
    return __builtin_convertvector(__builtin_shufflevector(v, v, 0, 1, 2, 3), i4); \
  } \
  OV i4 LDG(const T* p, i4 i) { return (i4){p[i[0]], p[i[1]], p[i[2]], p[i[3]]}; } \
  OV i4 LDS(const T* p, int s) { return (i4){p[0], p[s], p[2 * s], p[3 * s]}; } \
  OV i4 LDGM(const T* p, i4 i, i4 m) { \
    return (i4){m[0] ? p[i[0]] : 0, m[1] ? p[i[1]] : 0, m[2] ? p[i[2]] : 0, m[3] ? p[i[3]] : 0}; \
  } \
  OV i4 LDSM(const T* p, int s, i4 m) { return LDGM(p, IOTA * S(s), m); } \
  OV i4 LDM(const T* p, i4 m) { return ALL(m) ? LD(p) : LDGM(p, IOTA, m); } \
  OV int LD1M(const T* p, i4 m) { return ANY(m) ? *p : 0; }
BYTES(signed char, c16)
BYTES(unsigned char, b16)

// Whole numbers as i16, two to a word. DOT: of each lane the two products, added. PAIRS: two rows of eight bytes (`two`: or
// one, and zeros) with neighbours side by side; LOW and HIGH: the words of four columns.
OV i4 DOT(i4 a, i4 b) { return __builtin_wasm_dot_s_i32x4_i16x8((s8)a, (s8)b); }
OV c16 PAIRS(const signed char* p, int two) {
  long long rows[2] = {0, 0};
  __builtin_memcpy(rows, p, 8);
  if (two) __builtin_memcpy(rows + 1, p + 8, 8);
  const c16 v = (c16)(l2){rows[0], rows[1]};
  return __builtin_shufflevector(v, v, 0, 8, 1, 9, 2, 10, 3, 11, 4, 12, 5, 13, 6, 14, 7, 15);
}
OV i4 LOW(c16 v) {
  return (i4)__builtin_convertvector(__builtin_shufflevector(v, v, 0, 1, 2, 3, 4, 5, 6, 7), s8);
}
OV i4 HIGH(c16 v) {
  return (i4)__builtin_convertvector(__builtin_shufflevector(v, v, 8, 9, 10, 11, 12, 13, 14, 15), s8);
}
// Eight bytes, and the first and last four of them.
OV s8 WIDE(const signed char* p) {
  c8 v;
  __builtin_memcpy(&v, p, 8);
  return __builtin_convertvector(v, s8);
}
OV i4 LEFT(s8 v) { return __builtin_convertvector(__builtin_shufflevector(v, v, 0, 1, 2, 3), i4); }
OV i4 RIGHT(s8 v) { return __builtin_convertvector(__builtin_shufflevector(v, v, 4, 5, 6, 7), i4); }
// 1.5 * 2^23 more, the last bits of a float are the number.
OV void ST(short* p, f4 v) {
  const i4 whole = (i4)(v + S(12582912.0f)) - (i4)S(12582912.0f);
  const l2 four = (l2)__builtin_wasm_narrow_s_i16x8_i32x4(whole, whole);
  const long long low = four[0];
  __builtin_memcpy(p, &low, 8);
}

OV f4 SEL(i4 m, f4 a, f4 b) { return (f4)__builtin_wasm_bitselect((i4)a, (i4)b, m); }
OV i4 SEL(i4 m, i4 a, i4 b) { return __builtin_wasm_bitselect(a, b, m); }
OV u4 SEL(i4 m, u4 a, u4 b) { return (u4)__builtin_wasm_bitselect((i4)a, (i4)b, m); }
OV float SEL(int c, float a, float b) { return c ? a : b; }
OV int SEL(int c, int a, int b) { return c ? a : b; }
OV unsigned SEL(int c, unsigned a, unsigned b) { return c ? a : b; }
OV int NOT(int c) { return !c; }
OV i4 NOT(i4 m) { return ~m; }

// a * b + c in one rounding where the machine has it: the templates' only use of relaxed SIMD.
#ifdef __wasm_relaxed_simd__
OV f4 MADD(f4 a, f4 b, f4 c) { return __builtin_wasm_relaxed_madd_f32x4(a, b, c); }
#else
OV f4 MADD(f4 a, f4 b, f4 c) { return a * b + c; }
#endif
OV float MADD(float a, float b, float c) { return MADD(S(a), S(b), S(c))[0]; }

// ---- casts ----------------------------------------------------------------------------------------

OV i4 TO_I(f4 x) { return __builtin_wasm_trunc_saturate_s_i32x4_f32x4(x); }
OV u4 TO_U(f4 x) { return (u4)__builtin_wasm_trunc_saturate_u_i32x4_f32x4(x); }
OV int TO_I(float x) { return __builtin_wasm_trunc_saturate_s_i32_f32(x); }
OV unsigned TO_U(float x) { return __builtin_wasm_trunc_saturate_u_i32_f32(x); }
OV f4 TO_F(i4 x) { return __builtin_convertvector(x, f4); }
OV f4 TO_F(u4 x) { return __builtin_convertvector(x, f4); }
OV float TO_F(int x) { return (float)x; }
OV float TO_F(unsigned x) { return (float)x; }
OV i4 TO_I(i4 x) { return x; }
OV i4 TO_I(u4 x) { return (i4)x; }
OV u4 TO_U(i4 x) { return (u4)x; }
OV int TO_I(int x) { return x; }
OV int TO_I(unsigned x) { return (int)x; }
OV unsigned TO_U(int x) { return (unsigned)x; }
OV i4 BOOL_I(i4 m) { return m & S(1); }
OV int BOOL_I(int c) { return c; }
OV f4 BOOL_F(i4 m) { return (f4)(m & (i4)S(1.0f)); }
OV float BOOL_F(int c) { return (float)c; }
OV f4 BITS_F(i4 x) { return (f4)x; }
OV f4 BITS_F(u4 x) { return (f4)x; }
OV i4 BITS_I(f4 x) { return (i4)x; }
OV i4 BITS_I(u4 x) { return (i4)x; }
OV u4 BITS_U(f4 x) { return (u4)x; }
OV u4 BITS_U(i4 x) { return (u4)x; }
OV float BITS_F(int x) { return __builtin_bit_cast(float, x); }
OV float BITS_F(unsigned x) { return __builtin_bit_cast(float, x); }
OV int BITS_I(float x) { return __builtin_bit_cast(int, x); }
OV int BITS_I(unsigned x) { return (int)x; }
OV unsigned BITS_U(float x) { return __builtin_bit_cast(unsigned, x); }
OV unsigned BITS_U(int x) { return (unsigned)x; }

// ---- arithmetic -----------------------------------------------------------------------------------

#define SCALAR1(F) OV float F(float x) { return F(S(x))[0]; }
#define SCALAR2(F) OV float F(float a, float b) { return F(S(a), S(b))[0]; }
// Lane by lane, for what has no vector instruction.
#define LANES2(F, T, V) \
  OV V F(V a, V b) { return (V){F(a[0], b[0]), F(a[1], b[1]), F(a[2], b[2]), F(a[3], b[3])}; }

// wasm's own min and max are seven x86 instructions, its pmin and pmax one: pmax(a, b) is a < b ? b : a, which
// keeps a NaN in a. Both orders, or-ed together, keep either NaN. MIN1 and MAX1: b is known not to be NaN.
OV f4 MIN1(f4 a, f4 b) { return __builtin_wasm_pmin_f32x4(a, b); }
OV f4 MAX1(f4 a, f4 b) { return __builtin_wasm_pmax_f32x4(a, b); }
OV f4 vmin(f4 a, f4 b) { return (f4)((i4)MIN1(a, b) | (i4)MIN1(b, a)); }
OV f4 vmax(f4 a, f4 b) { return (f4)((i4)MAX1(a, b) | (i4)MAX1(b, a)); }
SCALAR2(MIN1) SCALAR2(MAX1) SCALAR2(vmin) SCALAR2(vmax)
#define MIN_MAX(T) \
  OV T vmin(T a, T b) { return __builtin_elementwise_min(a, b); } \
  OV T vmax(T a, T b) { return __builtin_elementwise_max(a, b); }
MIN_MAX(int)
MIN_MAX(unsigned)
MIN_MAX(i4)
MIN_MAX(u4)

OV f4 vabs(f4 x) { return (f4)((i4)x & MAGNITUDE); }
OV i4 vabs(i4 x) { return __builtin_elementwise_abs(x); }
OV int vabs(int x) { return x < 0 ? -x : x; }
OV f4 copysign4(f4 magnitude, f4 sign) { return (f4)(((i4)magnitude & MAGNITUDE) | ((i4)sign & ~MAGNITUDE)); }
OV f4 vsign(f4 x) {
  f4 one = (f4)(((i4)x & ~MAGNITUDE) | (i4)S(1.0f));
  return SEL((x > S(0.0f)) | (x < S(0.0f)), one, x + S(0.0f));
}
OV i4 vsign(i4 x) { return (x < S(0)) - (x > S(0)); }
OV int vsign(int x) { return (x > 0) - (x < 0); }
OV f4 vfloor(f4 x) { return __builtin_elementwise_floor(x); }
OV f4 vceil(f4 x) { return __builtin_elementwise_ceil(x); }
OV f4 vtrunc(f4 x) { return __builtin_elementwise_trunc(x); }
OV f4 vround(f4 x) { return __builtin_elementwise_roundeven(x); }
OV f4 vsqrt(f4 x) { return __builtin_elementwise_sqrt(x); }
OV f4 vrsqrt(f4 x) { return S(1.0f) / vsqrt(x); }
OV i4 visnan(f4 x) { return x != x; }
OV int visnan(float x) { return x != x; }
OV i4 visinf(f4 x) { return vabs(x) == S(INF); }
OV int visinf(float x) { return x == INF || x == -INF; }
SCALAR1(vabs) SCALAR1(vsign) SCALAR1(vfloor) SCALAR1(vceil) SCALAR1(vtrunc) SCALAR1(vround)
SCALAR1(vsqrt) SCALAR1(vrsqrt)

// Integer division: by zero is 0; INT_MIN / -1 wraps.
OV int vidiv(int a, int b) { return b == 0 ? 0 : b == -1 ? -a : a / b; }
OV int vrem(int a, int b) { return b == 0 || b == -1 ? 0 : a % b; }
OV int vfloordiv(int a, int b) {
  int q = vidiv(a, b);
  return q - ((a ^ b) < 0 && q * b != a && b != 0);
}
OV int vmod(int a, int b) {
  int r = vrem(a, b);
  return r != 0 && (r ^ b) < 0 ? r + b : r;
}
OV unsigned vidiv(unsigned a, unsigned b) { return b == 0 ? 0 : a / b; }
OV unsigned vrem(unsigned a, unsigned b) { return b == 0 ? 0 : a % b; }
OV unsigned vfloordiv(unsigned a, unsigned b) { return vidiv(a, b); }
OV unsigned vmod(unsigned a, unsigned b) { return vrem(a, b); }
LANES2(vidiv, int, i4) LANES2(vrem, int, i4) LANES2(vfloordiv, int, i4) LANES2(vmod, int, i4)
LANES2(vidiv, unsigned, u4) LANES2(vrem, unsigned, u4)
LANES2(vfloordiv, unsigned, u4) LANES2(vmod, unsigned, u4)
// Integer powers wrap. Of a negative exponent only 1 and -1 leave something.
BIG unsigned vpow(unsigned a, unsigned n) {
  unsigned r = 1;
  for (; n; n >>= 1, a *= a) r *= n & 1 ? a : 1;
  return r;
}
BIG int vpow(int a, int n) {
  if (n < 0) return a == 1 || a == -1 ? (n & 1 ? a : 1) : 0;
  return (int)vpow((unsigned)a, (unsigned)n);
}
LANES2(vpow, int, i4) LANES2(vpow, unsigned, u4)
// Where the operands are known: dividend >= 0, divisor > 0.
OV int DIV(int a, int b) { return (int)((unsigned)a / (unsigned)b); }
OV int MOD(int a, int b) { return (int)((unsigned)a % (unsigned)b); }
LANES2(DIV, int, i4) LANES2(MOD, int, i4)

OV int vshl(int a, int n) { return (unsigned)n >= 32 ? 0 : (int)((unsigned)a << n); }
OV int vshr(int a, int n) { return (unsigned)n >= 32 ? 0 : a >> n; }
OV unsigned vshl(unsigned a, unsigned n) { return n >= 32 ? 0 : a << n; }
OV unsigned vshr(unsigned a, unsigned n) { return n >= 32 ? 0 : a >> n; }
// One distance for all lanes is one instruction; distances that are known, of lanes to the left, are a product.
OV u4 vshl(u4 a, u4 n) {
  const u4 k = n & S(31u);
  u4 power = {1u << k[0], 1u << k[1], 1u << k[2], 1u << k[3]};
  __asm__("" : "+r"(power));  // or clang makes shifts of it again, which it takes lane by lane
  return a * power & (u4)(n < S(32u));
}
OV i4 vshl(i4 a, i4 n) { return (i4)vshl((u4)a, (u4)n); }
OV u4 vshr(u4 a, u4 n) { return (a >> (n & S(31u))) & (u4)(n < S(32u)); }
OV i4 vshr(i4 a, i4 n) { return (a >> (n & S(31))) & (i4)((u4)n < S(32u)); }

// C's fmod: exact. Each round removes at least 28 bits of the quotient, in double arithmetic.
BIG float vrem(float x, float y) {
  double a = __builtin_fabs(x), b = __builtin_fabs(y);
  if (!(a < INF) || !(b > 0)) return __builtin_nanf("");
  while (a >= b) {
    long long ea = __builtin_bit_cast(long long, a) >> 52, eb = __builtin_bit_cast(long long, b) >> 52;
    long long up = ea - eb > 28 ? ea - eb - 28 : 0;
    double t = b * __builtin_bit_cast(double, (up + 1023) << 52);
    a -= t * __builtin_trunc(a / t);
    if (a < 0) a += t;
  }
  return (float)__builtin_copysign(a, (double)x);
}
// numpy's mod and floor_divide: the remainder has the divisor's sign.
BIG float vmod(float x, float y) {
  float r = vrem(x, y);
  if (r == 0) return __builtin_copysignf(0.0f, y);
  return (r < 0) != (y < 0) ? r + y : r;
}
BIG float vfloordiv(float x, float y) {
  if (y == 0) return x / y;
  float r = vrem(x, y), q = (x - r) / y;
  if (r != 0 && (r < 0) != (y < 0)) q -= 1.0f;
  if (q == 0) return __builtin_copysignf(0.0f, x / y);
  float f = __builtin_floorf(q);
  return q - f > 0.5f ? f + 1.0f : f;
}
LANES2(vrem, float, f4) LANES2(vmod, float, f4) LANES2(vfloordiv, float, f4)

// ---- exponential and logarithm --------------------------------------------------------------------

#define LN2_HI 0.693145751953125f  // 15 bits, so that its product with an exponent is exact
#define LN2_LO 1.42860682e-6f

// exp(sign * x), sign = 1 or -1, is 2^n exp(sign * r) with |r| <= ln 2 / 2. The low bits of `t` are n + bias; the
// result is p with exp(sign * r) = 1 + sign * r + p * r * r.
OV f4 exp_core(f4 x, float sign, int bias, f4* t, f4* r_) {
  const f4 magic = S(12582912.0f + bias);  // 1.5 * 2^23: the sum's low bits are the rounded integer
  *t = MADD(x, S(sign * 1.44269504f), magic);
  f4 n = *t - magic, r = *r_ = MADD(n, S(sign * -LN2_LO), MADD(n, S(sign * -LN2_HI), x));
  f4 p = S(0.00138131424f);
  p = MADD(p, r, S(sign * 0.00836941879f));
  p = MADD(p, r, S(0.041668456f));
  p = MADD(p, r, S(sign * 0.166665152f));
  return MADD(p, r, S(0.49999994f));
}
// exp(x) * 2^k; the scale goes in as two factors so that results may be denormal or overflow properly.
OV f4 exp_scaled(f4 x, int k) {
  f4 t, r, p = exp_core(MIN1(MAX1(x, S(-105.0f)), S(91.0f)), 1.0f, 0, &t, &r);
  p = MADD(p, r * r, r) + S(1.0f);
  i4 e = (i4)t - (i4)S(12582912.0f) + S(k), half = e >> 1;
  f4 s1 = (f4)((half + S(127)) << 23), s2 = (f4)((e - half + S(127)) << 23);
  return p * s1 * s2;
}
// exp(sign * x) + c for |c| >= 1, as in sigmoid: what is below 2^-125 of the exponential is no part of such a sum, and
// denormal numbers would cost a hundred instructions each. Infinite from exponentials of 2^127.5 on.
OV f4 exp_plus(f4 x, float sign, f4 c) {
  x = MIN1(MAX1(x, S(sign > 0 ? -87.0f : -89.0f)), S(sign > 0 ? 89.0f : 87.0f));
  f4 t, r, p = exp_core(x, sign, 127, &t, &r);
  return MADD(MADD(MADD(p, r, S(sign)), r, S(1.0f)), (f4)((i4)t << 23), c);
}
OV float exp_plus(float x, float sign, float c) { return exp_plus(S(x), sign, S(c))[0]; }
OV f4 vexp(f4 x) { return exp_scaled(x, 0); }
SCALAR1(vexp)

// log(m 2^e) with m in [sqrt(1/2), sqrt(2)).
OV f4 log_core(f4 x, f4 correction) {
  i4 tiny = x < S(1.17549435e-38f);
  f4 y = SEL(tiny, x * S(8388608.0f), x);
  i4 e = ((i4)y - S(0x3f3504f3)) >> 23;
  f4 f = (f4)((i4)y - (e << 23)) - S(1.0f);
  f4 n = TO_F(e + (tiny & S(-23)));
  f4 p = S(-0.0763442963f);
  p = MADD(p, f, S(0.127615497f));
  p = MADD(p, f, S(-0.131601945f));
  p = MADD(p, f, S(0.142017618f));
  p = MADD(p, f, S(-0.166233569f));
  p = MADD(p, f, S(0.200012267f));
  p = MADD(p, f, S(-0.250008225f));
  p = MADD(p, f, S(0.333333313f));
  f4 z = f * f;
  f4 low = z * f * p + (n * S(LN2_LO) + correction);
  f4 r = (low - S(0.5f) * z) + f + n * S(LN2_HI);
  r = SEL(x < S(INF), r, x);  // inf and NaN
  r = SEL(x == S(0.0f), S(-INF), r);
  return SEL(x < S(0.0f), S(__builtin_nanf("")), r);
}
OV f4 vlog(f4 x) { return log_core(x, S(0.0f)); }
SCALAR1(vlog)
// log(1 + x) for x >= 0: what rounding 1 + x loses goes in again as a correction.
OV f4 log1p_positive(f4 x) {
  f4 u = S(1.0f) + x;
  f4 lost = SEL(u < S(INF), (x - (u - S(1.0f))) / u, S(0.0f));
  return log_core(u, SEL(x < S(16777216.0f), lost, S(0.0f)));
}

// ---- circular functions ---------------------------------------------------------------------------

// 2 / pi, 256 bits after the point.
static const unsigned TWO_OVER_PI[8] = {0xa2f9836e, 0x4e441529, 0xfc2757d1, 0xf534ddc0,
                                        0xdb629599, 0x3c439041, 0xfe5163ab, 0xdebbc561};

// x mod pi/2 for one |x| >= 2^28: the mantissa times the 96 bits of 2/pi that matter modulo 4.
static __attribute__((noinline, unused)) float reduce_huge(float x, int* quadrant) {
  unsigned bits = BITS_U(x), s = ((bits >> 23) & 255) - 152, word = s >> 5, b = s & 31;
  unsigned long long m = (bits & 0x7fffff) | 0x800000, w[3];
  for (int i = 0; i < 3; i++)
    w[i] = (unsigned)(((unsigned long long)TWO_OVER_PI[word + i] << 32 | TWO_OVER_PI[word + i + 1]) >> (32 - b));
  unsigned long long t = ((m * w[0]) << 32) + m * w[1] + ((m * w[2]) >> 32);
  *quadrant = (int)((t >> 62) + ((t >> 61) & 1));
  double r = (double)(long long)(t << 2) * (1.5707963267948966 / 18446744073709551616.0);
  if (bits >> 31) *quadrant = -*quadrant, r = -r;
  return (float)r;
}
// x = quadrant * pi/2 + r, |r| <= pi/4, in double arithmetic.
OV f4 reduce_pi(f4 x, i4* quadrant) {
  d2 half[2] = {__builtin_convertvector(__builtin_shufflevector(x, x, 0, 1), d2),
                __builtin_convertvector(__builtin_shufflevector(x, x, 2, 3), d2)};
  l2 q[2];
  for (int i = 0; i < 2; i++) {
    d2 t = half[i] * S2(0.6366197723675814) + S2(6755399441055744.0);  // 1.5 * 2^52 rounds
    d2 n = t - S2(6755399441055744.0);
    q[i] = (l2)t;
    half[i] = (half[i] - n * S2(1.5707963109016418)) - n * S2(1.5893254773528196e-08);
  }
  *quadrant = __builtin_shufflevector((i4)q[0], (i4)q[1], 0, 2, 4, 6);
  f4 r = {(float)half[0][0], (float)half[0][1], (float)half[1][0], (float)half[1][1]};
  i4 huge = (vabs(x) >= S(268435456.0f)) & (vabs(x) < S(INF));
  if (ANY(huge))
    for (int i = 0; i < 4; i++)
      if (huge[i]) {
        int k;
        r[i] = reduce_huge(x[i], &k);
        (*quadrant)[i] = k;
      }
  return r;
}
OV f4 sin_core(f4 r) {
  f4 z = r * r;
  f4 p = MADD(MADD(S(-0.00019514632f), z, S(0.00833215564f)), z, S(-0.166666552f));
  return (f4)((i4)MADD(p, z * r, r) | ((i4)r & ~MAGNITUDE));  // -0 for -0
}
OV f4 cos_core(f4 r) {
  f4 z = r * r;
  f4 p = MADD(MADD(S(2.44324128e-05f), z, S(-0.00138873095f)), z, S(0.0416666456f));
  return MADD(p, z * z, S(1.0f) - S(0.5f) * z);
}
BIG f4 sin_quadrant(f4 x, int shift) {
  i4 q;
  f4 r = reduce_pi(x, &q);
  q += S(shift);
  f4 y = SEL((q & S(1)) != S(0), cos_core(r), sin_core(r));
  return (f4)((i4)y ^ ((q & S(2)) << 30));
}
OV f4 vsin(f4 x) { return sin_quadrant(x, 0); }
OV f4 vcos(f4 x) { return sin_quadrant(x, 1); }
BIG f4 vtan(f4 x) {
  i4 q;
  f4 r = reduce_pi(x, &q), s = sin_core(r), c = cos_core(r);
  i4 odd = (q & S(1)) != S(0);
  return SEL(odd, -c, s) / SEL(odd, s, c);
}
SCALAR1(vsin) SCALAR1(vcos) SCALAR1(vtan)

#define PI_HI 3.14159274f
#define PI_LO -8.74227766e-8f

// atan(t) for 0 <= t <= 1; above tan(pi/8) by way of atan(t) = pi/4 + atan((t - 1) / (t + 1)).
OV f4 atan_core(f4 t) {
  i4 upper = t > S(0.414213562f);
  f4 u = SEL(upper, (t - S(1.0f)) / (t + S(1.0f)), t), z = u * u;
  f4 p = MADD(S(-0.06078225f), z, S(0.105938151f));
  p = MADD(p, z, S(-0.142435342f));
  p = MADD(p, z, S(0.199984714f));
  p = MADD(p, z, S(-0.333333164f));
  f4 a = MADD(p, z * u, u);
  return SEL(upper, (a + S(PI_LO / 4)) + S(PI_HI / 4), a);
}
BIG f4 vatan2(f4 y, f4 x) {
  f4 a = vabs(y), b = vabs(x), low = vmin(a, b), high = vmax(a, b);
  f4 t = SEL(low == high, SEL(high == S(0.0f), S(0.0f), S(1.0f)), low / high);
  f4 r = atan_core(t);
  r = SEL(a > b, (S(PI_HI / 2) - r) + S(PI_LO / 2), r);
  r = SEL((i4)x < S(0), (S(PI_HI) - r) + S(PI_LO), r);
  return SEL((x != x) | (y != y), x + y, copysign4(r, y));
}
BIG f4 vatan(f4 x) {
  f4 a = vabs(x);
  i4 inverse = a > S(1.0f);
  f4 r = atan_core(SEL(inverse, S(1.0f) / a, a));
  return copysign4(SEL(inverse, (S(PI_HI / 2) - r) + S(PI_LO / 2), r), x);
}
// asin(u) for u = sqrt(z) <= 1/2
OV f4 asin_core(f4 u, f4 z) {
  f4 p = MADD(S(0.0375163294f), z, S(0.0144386971f));
  p = MADD(p, z, S(0.0318076909f));
  p = MADD(p, z, S(0.0445169583f));
  p = MADD(p, z, S(0.0750050396f));
  p = MADD(p, z, S(0.166666597f));
  return MADD(p, z * u, u);
}
BIG f4 vasin(f4 x) {
  f4 a = vabs(x);
  i4 upper = a > S(0.5f);
  f4 z = SEL(upper, (S(1.0f) - a) * S(0.5f), a * a), u = SEL(upper, vsqrt(z), a);
  f4 r = asin_core(u, z);
  return copysign4(SEL(upper, S(PI_HI / 2) - (r + r - S(PI_LO / 2)), r), x);
}
BIG f4 vacos(f4 x) {
  f4 a = vabs(x);
  i4 upper = a > S(0.5f);
  f4 z = SEL(upper, (S(1.0f) - a) * S(0.5f), a * a), u = SEL(upper, vsqrt(z), x);
  f4 r = asin_core(u, z), twice = r + r;
  f4 outer = SEL(x < S(0.0f), (S(PI_LO) - twice) + S(PI_HI), twice);
  return SEL(upper, outer, S(PI_HI / 2) - (r - S(PI_LO / 2)));
}
SCALAR2(vatan2) SCALAR1(vatan) SCALAR1(vasin) SCALAR1(vacos)

// ---- hyperbolic functions, erf --------------------------------------------------------------------

BIG f4 vsinh(f4 x) {
  f4 a = vabs(x), z = x * x, h = exp_scaled(a, -1);
  f4 p = MADD(S(2.81695111e-06f), z, S(0.000198361595f));
  p = MADD(p, z, S(0.0083333496f));
  p = MADD(p, z, S(0.166666672f));
  return SEL(a < S(1.0f), MADD(p, z * x, x), copysign4(h - S(0.25f) / h, x));
}
BIG f4 vcosh(f4 x) {
  f4 h = exp_scaled(vabs(x), -1);
  return h + S(0.25f) / h;
}
// Rational in x, and exactly 1 from where the result rounds to it.
OV f4 vtanh(f4 x) {
  f4 c = MIN1(MAX1(x, S(-9.0f)), S(9.0f)), z = c * c;
  f4 p = MADD(S(-1.22461702e-11f), z, S(3.06424148e-08f));
  p = MADD(p, z, S(2.80312615e-05f));
  p = MADD(p, z, S(0.00386950537f));
  p = MADD(p, z, S(0.136808544f));
  p = MADD(p, z, S(1.0f));
  f4 q = MADD(S(1.28903173e-06f), z, S(0.000394070899f));
  q = MADD(q, z, S(0.0272501465f));
  q = MADD(q, z, S(0.470141858f));
  q = MADD(q, z, S(1.0f));
  return SEL(vabs(x) >= S(9.0f), copysign4(S(1.0f), x), MIN1(MAX1(c * (p / q), S(-1.0f)), S(1.0f)));
}
OV f4 verf(f4 x) {
  f4 c = MIN1(MAX1(x, S(-4.0f)), S(4.0f)), z = c * c;
  f4 p = MADD(S(1.98678617e-06f), z, S(0.000284565467f));
  p = MADD(p, z, S(0.00388332363f));
  p = MADD(p, z, S(0.0531016812f));
  p = MADD(p, z, S(0.193544596f));
  p = MADD(p, z, S(1.12837911f));
  f4 q = MADD(S(3.74201918e-05f), z, S(0.0011855663f));
  q = MADD(q, z, S(0.0152072096f));
  q = MADD(q, z, S(0.115349799f));
  q = MADD(q, z, S(0.504857004f));
  q = MADD(q, z, S(1.0f));
  return MIN1(MAX1(c * (p / q), S(-1.0f)), S(1.0f));
}
BIG f4 vasinh(f4 x) {
  f4 a = vabs(x), z = a * a;
  f4 r = log1p_positive(a + z / (S(1.0f) + vsqrt(z + S(1.0f))));
  return copysign4(SEL(a < S(1.0e9f), r, vlog(a) + S(0.693147181f)), x);
}
BIG f4 vacosh(f4 x) {
  f4 t = x - S(1.0f);
  f4 r = log1p_positive(t + vsqrt(t + t + t * t));
  return SEL(x < S(1.0f), S(__builtin_nanf("")), SEL(x > S(1.0e9f), vlog(x) + S(0.693147181f), r));
}
BIG f4 vatanh(f4 x) {
  f4 a = vabs(x), r = S(0.5f) * log1p_positive((a + a) / (S(1.0f) - a));
  return SEL(a > S(1.0f), S(__builtin_nanf("")), copysign4(r, x));
}
SCALAR1(vsinh) SCALAR1(vcosh) SCALAR1(vtanh) SCALAR1(verf)
SCALAR1(vasinh) SCALAR1(vacosh) SCALAR1(vatanh)

// ---- power ----------------------------------------------------------------------------------------

// |x|^y in double arithmetic, good to 1e-11: the one rounding to f32 is what is seen.
OV d2 pow_core(d2 a, d2 y) {
  l2 bits = (l2)a, mantissa = (bits & 0xfffffffffffffll) | 0x3ff0000000000000ll;
  d2 e = (d2)((l2)((ul2)bits >> 52) | 0x4330000000000000ll) - S2(4503599627370496.0 + 1023.0);
  d2 m = (d2)mantissa;
  l2 upper = m > S2(1.4142135623730951);
  m = (d2)(((l2)m & ~upper) | ((l2)(m * S2(0.5)) & upper));
  e += (d2)((l2)S2(1.0) & upper);
  d2 s = (m - S2(1.0)) / (m + S2(1.0)), z = s * s, p = S2(1.0 / 17);
  for (int k = 15; k > 0; k -= 2) p = p * z + S2(1.0 / k);
  d2 t = y * (e + s * p * S2(2 * 1.4426950408889634));
  t = (d2)__builtin_wasm_max_f64x2(__builtin_wasm_min_f64x2(t, S2(160.0)), S2(-200.0));
  d2 shifted = t + S2(6755399441055744.0 + 1023.0), n = shifted - S2(6755399441055744.0 + 1023.0);
  d2 f = (t - n) * S2(0.6931471805599453), q = S2(1.0);
  for (int k = 11; k > 0; k--) q = q * f * S2(1.0 / k) + S2(1.0);
  return q * (d2)((l2)shifted << 52);
}
BIG f4 vpow(f4 x, f4 y) {
  f4 a = vabs(x), b = vabs(y);
  d2 low = pow_core(__builtin_convertvector(__builtin_shufflevector(a, a, 0, 1), d2),
                    __builtin_convertvector(__builtin_shufflevector(y, y, 0, 1), d2));
  d2 high = pow_core(__builtin_convertvector(__builtin_shufflevector(a, a, 2, 3), d2),
                     __builtin_convertvector(__builtin_shufflevector(y, y, 2, 3), d2));
  f4 r = {(float)low[0], (float)low[1], (float)high[0], (float)high[1]};
  i4 up = y > S(0.0f);
  r = SEL(a == S(0.0f), SEL(up, S(0.0f), S(INF)), r);
  r = SEL(a == S(INF), SEL(up, S(INF), S(0.0f)), r);
  i4 whole = vtrunc(y) == y;
  f4 half = y * S(0.5f);
  i4 odd = whole & (vfloor(half) != half) & (b < S(16777216.0f));
  r = (f4)((i4)r | (odd & (i4)x & ~MAGNITUDE));
  r = SEL((x < S(0.0f)) & (a < S(INF)) & ~whole, S(__builtin_nanf("")), r);
  r = SEL((x != x) | (y != y), x + y, r);
  return SEL((y == S(0.0f)) | (x == S(1.0f)) | ((a == S(1.0f)) & (b == S(INF))), S(1.0f), r);
}
SCALAR2(vpow)

// What kernels that compute float64 use besides prelude.h: the same functions of `double`, and of four of them
// (d4), lane by lane where there is no vector instruction. A comparison of lanes is an i4, as everywhere.
//
// Errors against the exact value, in units in the last place: exp, log, sin, cos (any magnitude) and pow 1, tan,
// erf and the other circular and hyperbolic functions 4. tests/test_math.py holds them to it.
#pragma once

typedef double d4 __attribute__((vector_size(32)));
typedef long long l4 __attribute__((vector_size(32)));

#define BIG_INF ((double)INF)
#define LANES1_D(F) OV d4 F(d4 x) { return (d4){F(x[0]), F(x[1]), F(x[2]), F(x[3])}; }
#define LANES2_D(F) LANES2(F, double, d4)

OV d4 S(double x) { return (d4){x, x, x, x}; }
MEMORY(double, d4)
OV d4 SEL(i4 m, d4 a, d4 b) {
  const l4 wide = __builtin_convertvector(m, l4);
  return (d4)(((l4)a & wide) | ((l4)b & ~wide));
}
OV double SEL(int c, double a, double b) { return c ? a : b; }
#define COMPARE(F, OP) \
  OV int F(double a, double b) { return a OP b; } \
  OV i4 F(d4 a, d4 b) { return __builtin_convertvector(a OP b, i4); }
COMPARE(LT, <) COMPARE(LE, <=) COMPARE(GT, >) COMPARE(GE, >=) COMPARE(EQ, ==) COMPARE(NE, !=)

// ---- casts ----------------------------------------------------------------------------------------

#define WIDEN(T, V) \
  OV double TO_D(T x) { return (double)x; } \
  OV d4 TO_D(V x) { return __builtin_convertvector(x, d4); }
WIDEN(float, f4) WIDEN(int, i4) WIDEN(unsigned, u4)
OV double BOOL_D(int c) { return (double)c; }
OV d4 BOOL_D(i4 m) { return TO_D(m & S(1)); }
OV float TO_F(double x) { return (float)x; }
OV f4 TO_F(d4 x) { return __builtin_convertvector(x, f4); }
OV int TO_I(double x) { return __builtin_wasm_trunc_saturate_s_i32_f64(x); }
OV i4 TO_I(d4 x) { return (i4){TO_I(x[0]), TO_I(x[1]), TO_I(x[2]), TO_I(x[3])}; }
OV unsigned TO_U(double x) { return __builtin_wasm_trunc_saturate_u_i32_f64(x); }
OV u4 TO_U(d4 x) { return (u4){TO_U(x[0]), TO_U(x[1]), TO_U(x[2]), TO_U(x[3])}; }
OV long long BITS_L(double x) { return __builtin_bit_cast(long long, x); }
OV double BITS_D(long long x) { return __builtin_bit_cast(double, x); }
OV double POWER2(int e) { return BITS_D((long long)(e + 1023) << 52); }

// ---- arithmetic -----------------------------------------------------------------------------------

OV double vmin(double a, double b) { return a != a ? a : b != b ? b : __builtin_wasm_min_f64(a, b); }
OV double vmax(double a, double b) { return a != a ? a : b != b ? b : __builtin_wasm_max_f64(a, b); }
OV double vabs(double x) { return BITS_D(BITS_L(x) & 0x7fffffffffffffff); }
OV double copysign4(double x, double sign) {
  return BITS_D((BITS_L(x) & 0x7fffffffffffffff) | (BITS_L(sign) & ~0x7fffffffffffffff));
}
OV double vsign(double x) { return x > 0 ? 1.0 : x < 0 ? -1.0 : x + 0.0; }
OV double vfloor(double x) { return __builtin_elementwise_floor(x); }
OV double vceil(double x) { return __builtin_elementwise_ceil(x); }
OV double vtrunc(double x) { return __builtin_elementwise_trunc(x); }
OV double vround(double x) { return __builtin_elementwise_roundeven(x); }
OV double vsqrt(double x) { return __builtin_elementwise_sqrt(x); }
OV double vrsqrt(double x) { return 1.0 / vsqrt(x); }
OV int visnan(double x) { return x != x; }
OV i4 visnan(d4 x) { return NE(x, x); }
OV int visinf(double x) { return vabs(x) == BIG_INF; }
LANES2_D(vmin) LANES2_D(vmax) LANES1_D(vabs) LANES1_D(vsign) LANES1_D(vfloor) LANES1_D(vceil)
LANES1_D(vtrunc) LANES1_D(vround) LANES1_D(vsqrt) LANES1_D(vrsqrt)
OV i4 visinf(d4 x) { return EQ(vabs(x), S(BIG_INF)); }

// C's fmod: exact, a bit of the quotient at a time.
BIG double vrem(double x, double y) {
  const double a = vabs(x), b = vabs(y);
  if (!(a < BIG_INF) || !(b > 0)) return (double)__builtin_nanf("");
  if (a < b) return x;
  // Mantissas, of denormals too, and the exponents of their last bits.
  long long top = BITS_L(a), by = BITS_L(b);
  int from = (int)(top >> 52), to = (int)(by >> 52);
  top = from ? (top & 0xfffffffffffff) | 0x10000000000000 : top;
  by = to ? (by & 0xfffffffffffff) | 0x10000000000000 : by;
  for (from += !from, to += !to;; from--, top <<= 1) {
    top %= by;
    if (from == to) break;
  }
  const int half = (to - 1075) / 2;
  return copysign4((double)top * POWER2(half) * POWER2(to - 1075 - half), x);
}
// numpy's mod and floor_divide: the remainder has the divisor's sign.
BIG double vmod(double x, double y) {
  const double r = vrem(x, y);
  if (r == 0) return copysign4(0.0, y);
  return (r < 0) != (y < 0) ? r + y : r;
}
BIG double vfloordiv(double x, double y) {
  if (y == 0) return x / y;
  const double r = vrem(x, y);
  double q = (x - r) / y;
  if (r != 0 && (r < 0) != (y < 0)) q -= 1.0;
  if (q == 0) return copysign4(0.0, x / y);
  const double f = vfloor(q);
  return q - f > 0.5 ? f + 1.0 : f;
}
LANES2_D(vrem) LANES2_D(vmod) LANES2_D(vfloordiv)

// ---- sums of two doubles: what one rounds away, the other keeps -------------------------------------

typedef struct { double high, low; } Pair;
OV Pair two_sum(double a, double b) {
  const double s = a + b, t = s - a;
  return (Pair){s, (a - (s - t)) + (b - t)};
}
OV double upper_half(double x) { return BITS_D(BITS_L(x) & ~0x7ffffffLL); }
OV Pair two_product(double a, double b) {
  const double p = a * b, a1 = upper_half(a), b1 = upper_half(b), a0 = a - a1, b0 = b - b1;
  return (Pair){p, ((a1 * b1 - p) + a1 * b0 + a0 * b1) + a0 * b0};
}
OV Pair pair_product(Pair a, Pair b) {
  const Pair p = two_product(a.high, b.high);
  return two_sum(p.high, p.low + (a.high * b.low + a.low * b.high));
}
OV Pair pair_sum(Pair a, Pair b) {
  const Pair s = two_sum(a.high, b.high);
  return two_sum(s.high, s.low + (a.low + b.low));
}

// ---- exponential, logarithm, power ----------------------------------------------------------------

#define LN2_A 0x1.62e42fefp-1  // 32 bits, so that its product with an exponent is exact
#define LN2_B 0x1.473de6af278edp-34

// exp(x + low) * 2^k
BIG double exp_pair(double x, double low, int k) {
  if (x != x) return x;
  x = x < -760 ? -760 : x > 720 ? 720 : x;
  const double n = vround(x * 1.4426950408889634), r = (x - n * LN2_A) - (n * LN2_B - low);
  double p = 1.0 / 6227020800;
  for (double f = 479001600, i = 12; i > 1; f /= i--) p = p * r + 1.0 / f;
  const int e = (int)n + k, half = e / 2;
  return ((r * r * p + r) + 1.0) * POWER2(half) * POWER2(e - half);
}
OV double vexp(double x) { return exp_pair(x, 0, 0); }

// x = m 2^e with m in [sqrt(1/2), sqrt(2))
OV double mantissa(double x, int* e) {
  const int tiny = x < 0x1p-1022;
  const long long bits = BITS_L(tiny ? x * 0x1p54 : x), up = (bits - 0x3fe6a09e667f3bcd) >> 52;
  *e = (int)up - 54 * tiny;
  return BITS_D(bits - (up << 52));
}
// log(x (1 + correction))
BIG double log_corrected(double x, double correction) {
  if (!(x > 0)) return x == 0 ? -BIG_INF : (double)__builtin_nanf("");
  if (x == BIG_INF) return x;
  int e;
  const double f = mantissa(x, &e) - 1.0, s = f / (2.0 + f), z = s * s, half = 0.5 * f * f;
  double p = 0;
  for (int k = 23; k > 1; k -= 2) p = (p + 2.0 / k) * z;
  return e * LN2_A - ((half - (s * (half + p) + (e * LN2_B + correction))) - f);
}
OV double vlog(double x) { return log_corrected(x, 0); }
OV double log1p_(double x) {
  const double u = 1.0 + x;
  return log_corrected(u, u < BIG_INF && u > 0 ? (x >= 1 ? 1.0 - (u - x) : x - (u - 1.0)) / u : 0);
}
// log(x) to 100 bits, and so x^y to the last one
OV Pair log_pair(double x) {
  int e;
  const double m = mantissa(x, &e), f = m - 1.0, g = m + 1.0, s = f / g;
  const Pair back = two_product(s, g);
  const Pair t = {s, (((f - back.high) - back.low) - s * (m - (g - 1.0))) / g}, z = pair_product(t, t);
  double p = 0;
  for (int k = 23; k > 3; k -= 2) p = (p + 2.0 / k) * z.high;
  Pair sum = pair_sum(pair_product(z, (Pair){2.0 / 3, 0x1.5555555555555p-55}), (Pair){p * z.high, 0});
  sum = pair_product(t, pair_sum((Pair){2, 0}, sum));
  return pair_sum(two_sum(e * LN2_A, e * LN2_B), sum);
}
BIG double vpow(double x, double y) {
  const double a = vabs(x), b = vabs(y);
  if (y == 0 || x == 1 || (a == 1 && b == BIG_INF)) return 1;
  if (x != x || y != y) return x + y;
  const int whole = vtrunc(y) == y, odd = whole && b < 0x1p53 && vfloor(y * 0.5) != y * 0.5;
  double r;
  if (a == 0 || a == BIG_INF || b == BIG_INF)
    r = (a > 1) == (y > 0) ? BIG_INF : 0;
  else if (x < 0 && !whole)
    return (double)__builtin_nanf("");
  else {
    const Pair l = log_pair(a);
    const double by = b > 0x1p70 ? copysign4(0x1p70, y) : y;
    const Pair t = pair_product(l, (Pair){by, 0});
    r = exp_pair(t.high, vabs(t.high) < 800 ? t.low : 0, 0);
  }
  return odd && BITS_L(x) < 0 ? -r : r;
}
LANES1_D(vexp) LANES1_D(vlog) LANES2_D(vpow)

// ---- circular functions ---------------------------------------------------------------------------

#define PI_A 3.141592653589793
#define PI_B 1.2246467991473532e-16

// 2 / pi, as many bits after the point as the largest double takes.
static const unsigned TWO_OVER_PI_D[41] = {
  0xa2f9836e, 0x4e441529, 0xfc2757d1, 0xf534ddc0, 0xdb629599, 0x3c439041, 0xfe5163ab, 0xdebbc561, 0xb7246e3a,
  0x424dd2e0, 0x06492eea, 0x09d1921c, 0xfe1deb1c, 0xb129a73e, 0xe88235f5, 0x2ebb4484, 0xe99c7026, 0xb45f7e41,
  0x3991d639, 0x835339f4, 0x9c845f8b, 0xbdf9283b, 0x1ff897ff, 0xde05980f, 0xef2f118b, 0x5a0a6d1f, 0x6d367ecf,
  0x27cb09b7, 0x4f463f66, 0x9e5fea2d, 0x7527bac7, 0xebe5f17b, 0x3d0739f7, 0x8a5292ea, 0x6bfb5fb1, 0x1f8d5d08,
  0x56033046, 0xfc7b6bab, 0xf0cfbc20, 0x9af4361d, 0xa9e39161};

// x = quadrant * pi/2 + r, |r| <= pi/4
static __attribute__((noinline, unused)) Pair reduce_pi(double x, int* quadrant) {
  const double a = vabs(x);
  if (!(a < BIG_INF)) return *quadrant = 0, (Pair){(double)__builtin_nanf(""), 0};
  if (a < 0x1p19) {
    const double n = vround(x * 0.6366197723675814);
    *quadrant = (int)n;
    const Pair r = two_sum(x - n * 0x1.921fb544p+0, -(n * 0x1.0b4611a6p-34));
    return two_sum(r.high, r.low - n * 0x1.3198a2e037073p-69);
  }
  // The mantissa times the 224 bits of 2/pi that matter modulo 4, as words of 32 bits.
  const int e = (int)(BITS_L(a) >> 52) - 1075, first = e < 2 ? 0 : (e - 2) / 32, left = e - 32 * first;
  const unsigned long long m = (BITS_L(a) & 0xfffffffffffffLL) | 0x10000000000000LL;
  const unsigned m0 = (unsigned)m, m1 = (unsigned)(m >> 32);
  unsigned p[9] = {0, 0, 0, 0, 0, 0, 0, 0, 0};  // lowest first
  for (int i = 0; i < 7; i++) {
    const unsigned long long w = TWO_OVER_PI_D[first + 6 - i];
    unsigned long long t = w * m0 + p[i];
    p[i] = (unsigned)t;
    t = w * m1 + p[i + 1] + (t >> 32);
    p[i + 1] = (unsigned)t;
    p[i + 2] = (unsigned)(t >> 32);
  }
  // A unit is bit 224 - left: four words below it, and the two bits above.
  unsigned long long part[3];
  for (int k = 0; k < 3; k++) {
    unsigned long long value = 0;
    for (int b = 0; b < 64; b++) {
      const int at = 224 - left + 1 - b - 64 * k;
      value = value << 1 | (at >= 0 ? p[at >> 5] >> (at & 31) & 1 : 0);
    }
    part[k] = value;
  }
  int q = (int)(part[0] >> 62);
  unsigned long long top = part[0] << 2 | part[1] >> 62, low = part[1] << 2 | part[2] >> 62;
  const int minus = (int)(top >> 63);
  if (minus) q++, top = ~top, low = ~low;
  int shift = 0;
  for (; !(top >> 63) && shift < 127; shift++) top = top << 1 | low >> 63, low <<= 1;
  const double scale = POWER2(-shift);
  const Pair f = {(double)(long long)(top >> 11) * 0x1p-53 * scale,
                  (double)(long long)(((top & 2047) << 52) | low >> 12) * 0x1p-116 * scale};
  const Pair r = pair_product(f, (Pair){PI_A / 2, PI_B / 2});
  *quadrant = x < 0 ? -q : q;
  return minus != (x < 0) ? (Pair){-r.high, -r.low} : r;
}
OV double sin_core(Pair r) {
  const double z = r.high * r.high;
  double p = 1.0 / 355687428096000;
  p = p * -z + 1.0 / 1307674368000;
  p = p * -z + 1.0 / 6227020800;
  p = p * -z + 1.0 / 39916800;
  p = p * -z + 1.0 / 362880;
  p = p * -z + 1.0 / 5040;
  p = p * -z + 1.0 / 120;
  p = p * -z + 1.0 / 6;
  return r.high - (z * r.high * p - r.low * (1.0 - 0.5 * z));
}
OV double cos_core(Pair r) {
  const double z = r.high * r.high, w = 1.0 - 0.5 * z;
  double p = 1.0 / 6402373705728000;
  p = p * -z + 1.0 / 20922789888000;
  p = p * -z + 1.0 / 87178291200;
  p = p * -z + 1.0 / 479001600;
  p = p * -z + 1.0 / 3628800;
  p = p * -z + 1.0 / 40320;
  p = p * -z + 1.0 / 720;
  p = p * -z + 1.0 / 24;
  return w + (((1.0 - w) - 0.5 * z) + (z * z * p - r.high * r.low));
}
BIG double sin_quadrant(double x, int shift) {
  int q;
  if (x == 0 && !shift) return x;
  const Pair r = reduce_pi(x, &q);
  q += shift;
  const double y = q & 1 ? cos_core(r) : sin_core(r);
  return q & 2 ? -y : y;
}
OV double vsin(double x) { return sin_quadrant(x, 0); }
OV double vcos(double x) { return sin_quadrant(x, 1); }
BIG double vtan(double x) {
  int q;
  if (x == 0) return x;
  const Pair r = reduce_pi(x, &q);
  const double s = sin_core(r), c = cos_core(r);
  return q & 1 ? -c / s : s / c;
}
// atan(t) for 0 <= t <= 1: atan(c) + atan((t - c) / (1 + t c)), c the nearest eighth
OV double atan_core(double t) {
  static const double eighths[9] = {
    0.0, 0.12435499454676144, 0.24497866312686414, 0.35877067027057225, 0.4636476090008061, 0.5585993153435624,
    0.6435011087932844, 0.7188299996216245, 0.7853981633974483};
  const int k = (int)(t * 8 + 0.5);
  const double c = k * 0.125, u = (t - c) / (1.0 + t * c), z = u * u;
  double p = 0;
  for (int n = 15; n > 1; n -= 2) p = z * (1.0 / n - p);
  return eighths[k] + (u - u * p);
}
BIG double vatan2(double y, double x) {
  if (x != x || y != y) return x + y;
  const double a = vabs(y), b = vabs(x), low = a < b ? a : b, high = a < b ? b : a;
  double r = atan_core(low == high ? (high == 0 ? 0 : 1) : low / high);
  if (a > b) r = (PI_A / 2 - r) + PI_B / 2;
  if (BITS_L(x) < 0) r = (PI_A - r) + PI_B;
  return copysign4(r, y);
}
BIG double vatan(double x) { return vatan2(x, 1.0); }
BIG double vasin(double x) { return vatan2(x, vsqrt((1.0 - x) * (1.0 + x))); }
BIG double vacos(double x) { return vatan2(vsqrt((1.0 - x) * (1.0 + x)), x); }
LANES1_D(vsin) LANES1_D(vcos) LANES1_D(vtan) LANES2_D(vatan2) LANES1_D(vatan) LANES1_D(vasin) LANES1_D(vacos)

// ---- hyperbolic functions, erf --------------------------------------------------------------------

BIG double vsinh(double x) {
  const double a = vabs(x), z = x * x;
  if (a >= 1) {
    const double h = exp_pair(a, 0, -1);
    return copysign4(h - 0.25 / h, x);
  }
  double p = 1;
  for (int n = 20; n > 2; n -= 2) p = 1.0 + p * z / (n * (n + 1));
  return x + x * z * p / 6;
}
BIG double vcosh(double x) {
  const double h = exp_pair(vabs(x), 0, -1);
  return h + 0.25 / h;
}
BIG double vtanh(double x) {
  const double a = vabs(x);
  if (a < 0.5) return vsinh(x) / vcosh(x);
  return a < 20 ? copysign4(1.0 - 2.0 / (vexp(a + a) + 1.0), x) : x != x ? x : copysign4(1.0, x);
}
// A series of positive terms, and from 1.5 on the continued fraction of what is missing to 1.
BIG double verf(double x) {
  const double a = vabs(x);
  if (!(a < 6)) return x != x ? x : copysign4(1.0, x);
  const Pair square = two_product(a, a);
  const double e = exp_pair(-square.high, -square.low, 0);
  if (a < 1.5) {
    double sum = 0;
    for (int n = 40; n > 0; n--) sum = (1.0 + sum) * square.high * (2.0 / (2 * n + 1));
    return x * (1.1283791670955126 * (1.0 + sum) * e);
  }
  double f = a;
  for (int n = 90; n > 0; n--) f = a + 0.5 * n / f;
  return copysign4(1.0 - e * 0.5641895835477563 / f, x);
}
BIG double vasinh(double x) {
  const double a = vabs(x);
  if (a >= 0x1p28) return a < BIG_INF ? copysign4(vlog(a) + 0.6931471805599453, x) : x;
  return copysign4(log1p_(a + a * a / (1.0 + vsqrt(a * a + 1.0))), x);
}
BIG double vacosh(double x) {
  const double t = x - 1.0;
  if (x < 1) return (double)__builtin_nanf("");
  return x > 0x1p28 ? vlog(x) + 0.6931471805599453 : log1p_(t + vsqrt(t + t + t * t));
}
BIG double vatanh(double x) {
  const double a = vabs(x);
  if (a > 1) return (double)__builtin_nanf("");
  return copysign4(0.5 * log1p_((a + a) / (1.0 - a)), x);
}
LANES1_D(vsinh) LANES1_D(vcosh) LANES1_D(vtanh) LANES1_D(verf)
LANES1_D(vasinh) LANES1_D(vacosh) LANES1_D(vatanh)

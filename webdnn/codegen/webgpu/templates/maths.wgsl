// Functions that WGSL lacks, or whose precision, range or NaN it leaves to the driver.
//
// F, I, U, B and H stand for f32, i32, u32, bool and f16, or for vectors of four of them: each function is
// printed once per width that a kernel uses (`tanh_`, `tanh_4`), so nothing here branches. WGSL lets
// compilers assume that no NaN occurs, hence every test for one looks at the bits. Polynomials are
// fitted to the named range; errors are relative and in f32 ulp.

fn is_nan(x: F) -> B { return (bitcast<U>(x) & U(0x7fffffffu)) > U(0x7f800000u); }
fn is_inf(x: F) -> B { return (bitcast<U>(x) & U(0x7fffffffu)) == U(0x7f800000u); }

// A float from its bits; a parameter keeps the compiler from rejecting inf and NaN as constants.
fn from_bits(bits: U) -> F { return bitcast<F>(bits); }

fn max_(a: F, b: F) -> F { return select(max(a, b), a + b, is_nan(a) | is_nan(b)); }
fn min_(a: F, b: F) -> F { return select(min(a, b), a + b, is_nan(a) | is_nan(b)); }
// With a second operand that is known not to be NaN.
fn max_c(a: F, b: F) -> F { return select(max(a, b), a, is_nan(a)); }
fn min_c(a: F, b: F) -> F { return select(min(a, b), a, is_nan(a)); }

// Floats as integers in the same order, NaN as the given one, which may be the least or the largest.
fn order(x: F, nan: I) -> I {
  let bits = bitcast<I>(x);
  return select(bits ^ ((bits >> U(31u)) & I(0x7fffffff)), nan, is_nan(x));
}
fn unorder(i: I) -> F { return bitcast<F>(i ^ ((i >> U(31u)) & I(0x7fffffff))); }

// What lies beyond the largest half becomes that; infinities and NaN stay what they are.
fn to_f16(x: F) -> H {
  let special = (bitcast<U>(x) & U(0x7fffffffu)) >= U(0x7f800000u);
  return H(select(clamp(x, F(-65504.0), F(65504.0)), x, special));
}

fn sign_(x: F) -> F { return select(sign(x), x, is_nan(x)); }

// Integers: division by zero gives 0, and INT_MIN / -1 wraps.
fn idiv(a: I, b: I) -> I {
  let safe = select(b, I(1), (b == I(0)) | (b == I(-1)));
  return select(select(a / safe, I(0) - a, b == I(-1)), I(0), b == I(0));
}
fn rem(a: I, b: I) -> I {
  let safe = select(b, I(1), (b == I(0)) | (b == I(-1)));
  return select(a - a / safe * safe, I(0), b == I(0));
}
fn floordiv(a: I, b: I) -> I {
  let q = idiv(a, b);
  return q - select(I(0), I(1), ((a ^ b) < I(0)) & (q * b != a) & (b != I(0)));
}
fn floormod(a: I, b: I) -> I {
  let r = rem(a, b);
  return r + select(I(0), b, (r != I(0)) & ((r ^ b) < I(0)));
}
fn udiv(a: U, b: U) -> U { return select(a / max(b, U(1u)), U(0u), b == U(0u)); }
fn urem(a: U, b: U) -> U { return select(a % max(b, U(1u)), U(0u), b == U(0u)); }
fn shl(a: I, n: I) -> I { return select(a << U(clamp(n, I(0), I(31))), I(0), n > I(31)); }
fn shr(a: I, n: I) -> I { return select(a >> U(clamp(n, I(0), I(31))), I(0), n > I(31)); }
fn ushl(a: U, n: U) -> U { return select(a << min(n, U(31u)), U(0u), n > U(31u)); }
fn ushr(a: U, n: U) -> U { return select(a >> min(n, U(31u)), U(0u), n > U(31u)); }
fn ipow(a: I, b: I) -> I {
  var r = I(1);
  var x = a;
  var n = max(b, I(0));
  for (var i = 0; i < 31; i++) {
    r = select(r, r * x, (n & I(1)) == I(1));
    x = x * x;
    n = n >> U(1u);
  }
  // A negative exponent leaves something only of 1 and -1.
  let inverse = select(I(0), select(a, I(1), (b & I(1)) == I(0)), (a == I(1)) | (a == I(-1)));
  return select(r, inverse, b < I(0));
}
fn upow(a: U, b: U) -> U {
  var r = U(1u);
  var x = a;
  var n = b;
  for (var i = 0; i < 32; i++) {
    r = select(r, r * x, (n & U(1u)) == U(1u));
    x = x * x;
    n = n >> U(1u);
  }
  return r;
}

// Saturating conversions; NaN becomes 0.
fn to_i32(x: F) -> I {
  let y = select(I(clamp(x, F(-2147483648.0), F(2147483520.0))), I(2147483647), x >= F(2147483648.0));
  return select(y, I(0), is_nan(x));
}
fn to_u32(x: F) -> U {
  let y = select(U(clamp(x, F(0.0), F(4294967040.0))), U(4294967295u), x >= F(4294967296.0));
  return select(y, U(0u), is_nan(x));
}

// Remainders of floats: C's fmod, exact, and Python's. x and y are not negative, and x / y has 24 bits.
fn short_fmod(x: F, y: F) -> F {
  // q * y in four products of 12 bits by 12, which are exact.
  let q = min(trunc(x / y), F(16777215.0));
  let q1 = trunc(q * F(0.000244140625)) * F(4096.0);
  let q0 = q - q1;
  let y1 = bitcast<F>(bitcast<U>(y) & U(0xfffff000u));
  let y0 = y - y1;
  var r = ((x - q1 * y1) - q0 * y1) - q1 * y0 - q0 * y0;
  r = select(r, r + y, r < F(0.0));
  r = select(r, r - y, r >= y);
  return select(r, x, x < y);
}
fn fmod(a: F, b: F) -> F {
  let y = abs(b);
  var r = abs(a);
  // Larger quotients go in parts: first the remainder of y times a power of two.
  for (var i = 0; i < 13; i++) {
    let scale = max(((bitcast<I>(r) >> U(23u)) - (bitcast<I>(y) >> U(23u))) - I(22), I(0));
    r = short_fmod(r, bitcast<F>(bitcast<I>(y) + (scale << U(23u))));
    if (!any(r >= y)) { break; }
  }
  r = bitcast<F>(bitcast<U>(r) | (bitcast<U>(a) & U(0x80000000u)));
  return select(r, from_bits(U(0x7fc00000u)), (b == F(0.0)) | is_nan(a) | is_nan(b) | is_inf(a));
}
fn pymod(a: F, b: F) -> F {
  let r = fmod(a, b);
  return select(r, r + b, (r != F(0.0)) & ((r < F(0.0)) != (b < F(0.0))));
}
fn pydiv(a: F, b: F) -> F {
  let r = select(round((a - pymod(a, b)) / b), a / b, b == F(0.0));
  let below = (a != F(0.0)) & ((a < F(0.0)) != (b < F(0.0)));
  return select(r, select(F(0.0), F(-1.0), below), is_inf(b) & !is_inf(a) & !is_nan(a));
}

// log(1 + f) for -0.29 < f < 0.42, 1 ulp.
fn log1p_core(f: F) -> F {
  var p = F(0.069160901);
  p = p * f - F(0.117791213);
  p = p * f + F(0.11866533);
  p = p * f - F(0.123859115);
  p = p * f + F(0.142198712);
  p = p * f - F(0.166691899);
  p = p * f + F(0.200021535);
  p = p * f - F(0.249999866);
  p = p * f + F(0.333333105);
  return f + (f * f) * (p * f - F(0.5));
}
// x = m * 2^e with 0.707 <= m < 1.415, of a normal positive x.
fn exponent_of(x: F) -> I {
  return (bitcast<I>(x) - I(0x3f3504f3)) >> U(23u);
}
fn log_(x: F) -> F {
  let tiny = x < F(1.17549435e-38);
  let y = select(x, x * F(8388608.0), tiny);
  let e = exponent_of(y);
  let m = bitcast<F>(bitcast<I>(y) - (e << U(23u)));
  let n = F(e) - select(F(0.0), F(23.0), tiny);
  var r = n * F(0.693359375) + (log1p_core(m - F(1.0)) - n * F(0.000212194440));
  r = select(r, from_bits(U(0xff800000u)), x == F(0.0));
  r = select(r, from_bits(U(0x7fc00000u)), x < F(0.0));
  return select(r, x, is_nan(x) | (bitcast<U>(x) == U(0x7f800000u)));
}
fn log1p_(x: F) -> F { return select(log_(F(1.0) + x), log1p_core(x), (x > F(-0.29)) & (x < F(0.41))); }

// The driver's exp, with the ends of its range made certain.
fn exp_(x: F) -> F {
  var r = exp(clamp(x, F(-104.0), F(89.0)));
  r = select(r, from_bits(U(0x7f800000u)), x > F(88.7228394));
  r = select(r, F(0.0), x < F(-104.0));
  return select(r, x, is_nan(x));
}

// a^b = 2^(b * log2|a|): the integer part of the exponent is scaled apart, so that only the
// fractional part is rounded.
fn pow_(a: F, b: F) -> F {
  let one = F(1.0);
  let mag = abs(a);
  let tiny = mag < F(1.17549435e-38);
  let y = select(mag, mag * F(8388608.0), tiny);
  let e = exponent_of(y);
  let m = bitcast<F>(bitcast<I>(y) - (e << U(23u)));
  let l = log1p_core(m - one) * F(1.44269504);
  let n = F(e) - select(F(0.0), F(23.0), tiny);
  let whole = b * n;
  let part = fma(b, n, -whole) + b * l;
  let scale = clamp(round(whole + part), F(-252.0), F(252.0));
  let rest = (whole - scale) + part;
  let half = I(scale) >> U(1u);
  var r = exp2(clamp(rest, F(-126.0), F(126.0)));
  r = r * bitcast<F>((half + I(127)) << U(23u)) * bitcast<F>((I(scale) - half + I(127)) << U(23u));
  let integer = (b == trunc(b)) | is_inf(b);
  let odd = integer & (abs(b) < F(16777216.0)) & (abs(b - F(2.0) * floor(b * F(0.5))) == one);
  let up = (b > F(0.0)) == (mag > one);
  r = select(r, select(F(0.0), from_bits(U(0x7f800000u)), up), is_inf(a) | is_inf(b) | (a == F(0.0)));
  r = select(r, -r, odd & ((bitcast<U>(a) >> U(31u)) == U(1u)));
  r = select(r, from_bits(U(0x7fc00000u)), (a < F(0.0)) & !integer & !is_inf(a));
  r = select(r, a + b, is_nan(a) | is_nan(b));
  return select(r, one, (b == F(0.0)) | (a == one) | ((mag == one) & is_inf(b)));
}

// sin and cos: x minus a multiple of pi/2, taken off in exact parts; good to |x| of 1e5, within 1e-4
// at 1e6, and without meaning beyond 8e6, where neighbouring floats are a radian apart.
fn quadrant(x: F) -> F { return round(clamp(x, F(-8e6), F(8e6)) * F(0.636619772)); }
fn reduced(x: F, q: F) -> F { // the first three parts of pi/2 have 8 bits each
  return (((x - q * F(1.5703125)) - q * F(0.000482559204)) - q * F(1.26659870e-6)) - q * F(9.920936e-10);
}
fn sin_core(r: F) -> F {
  let z = r * r;
  let p = ((F(2.7246952e-6) * z - F(0.000198400638)) * z + F(0.00833333191)) * z - F(0.166666672);
  return r + r * z * p;
}
fn cos_core(r: F) -> F {
  let z = r * r;
  let p = ((F(-2.7298466e-7) * z + F(0.0000248005812)) * z - F(0.00138888881)) * z + F(0.0416666679);
  return (F(1.0) - F(0.5) * z) + z * z * p;
}
fn sin_(x: F) -> F {
  let q = quadrant(x);
  let r = reduced(x, q);
  let n = I(q);
  let y = select(sin_core(r), cos_core(r), (n & I(1)) == I(1));
  let z = select(y, -y, (n & I(2)) == I(2));
  return select(z, from_bits(U(0x7fc00000u)), is_inf(x) | is_nan(x));
}
fn cos_(x: F) -> F {
  let q = quadrant(x);
  let r = reduced(x, q);
  let n = I(q) + I(1);
  let y = select(sin_core(r), cos_core(r), (n & I(1)) == I(1));
  let z = select(y, -y, (n & I(2)) == I(2));
  return select(z, from_bits(U(0x7fc00000u)), is_inf(x) | is_nan(x));
}
fn tan_(x: F) -> F { return sin_(x) / cos_(x); }

fn atan_(x: F) -> F {
  let big = abs(x) > F(1.0);
  let t = select(abs(x), F(1.0) / abs(x), big);
  let z = t * t;
  var p = F(-0.000711293134);
  p = p * z + F(0.00499925250);
  p = p * z - F(0.0164713040);
  p = p * z + F(0.0347044505);
  p = p * z - F(0.0547043160);
  p = p * z + F(0.0726937503);
  p = p * z - F(0.0898878872);
  p = p * z + F(0.110952020);
  p = p * z - F(0.142842501);
  p = p * z + F(0.199999318);
  p = p * z - F(0.333333313);
  let y = t + t * z * p;
  let r = select(y, F(1.57079633) - y, big);
  return select(select(r, -r, x < F(0.0)), x, is_nan(x));
}
fn atan2_(y: F, x: F) -> F {
  let pi = F(3.14159265);
  let ax = abs(x);
  let ay = abs(y);
  let steep = ay > ax;
  let low = select(ay, ax, steep);
  let high = select(ax, ay, steep);
  let ratio = select(low / high, F(1.0), low == high); // also inf / inf
  var r = select(atan_(ratio), F(0.0), high == F(0.0));
  r = select(r, F(1.57079633) - r, steep);
  r = select(r, pi - r, (bitcast<U>(x) >> U(31u)) == U(1u));
  r = select(r, -r, (bitcast<U>(y) >> U(31u)) == U(1u));
  return select(r, x + y, is_nan(x) | is_nan(y));
}
fn asin_core(x: F) -> F {
  let z = x * x;
  var p = F(0.0375568867);
  p = p * z + F(0.0144091201);
  p = p * z + F(0.0318156816);
  p = p * z + F(0.0445159860);
  p = p * z + F(0.0750050917);
  p = p * z + F(0.166666597);
  return x + x * z * p;
}
fn asin_(x: F) -> F {
  let a = abs(x);
  let y = F(1.57079633) - F(2.0) * asin_core(sqrt(max(F(0.5) - F(0.5) * a, F(0.0))));
  let r = select(asin_core(a), y, a > F(0.5));
  return select(select(r, -r, x < F(0.0)), from_bits(U(0x7fc00000u)), (a > F(1.0)) | is_nan(x));
}
fn acos_(x: F) -> F {
  let a = abs(x);
  let y = F(2.0) * asin_core(sqrt(max(F(0.5) - F(0.5) * a, F(0.0))));
  let outer = select(y, F(3.14159265) - y, x < F(0.0));
  let r = select(F(1.57079633) - asin_core(x), outer, a > F(0.5));
  return select(r, from_bits(U(0x7fc00000u)), (a > F(1.0)) | is_nan(x));
}

// Halves of the exponent keep exp from overflowing before the result does.
fn sinh_(x: F) -> F {
  let a = abs(x);
  let z = x * x;
  let p = ((F(2.8167522e-6) * z + F(0.000198361477)) * z + F(0.00833335053)) * z + F(0.166666672);
  let e = exp_(a * F(0.5));
  let big = F(0.5) * e * e - F(0.5) / (e * e);
  let r = select(big, a + a * z * p, a < F(1.0));
  return select(select(r, -r, x < F(0.0)), x, is_nan(x));
}
fn cosh_(x: F) -> F {
  let e = exp_(abs(x) * F(0.5));
  return F(0.5) * e * e + F(0.5) / (e * e);
}
fn tanh_(x: F) -> F {
  let a = min(abs(x), F(10.0));
  let z = a * a;
  var p = F(-0.00571749546);
  p = p * z + F(0.0206510425);
  p = p * z - F(0.0537436604);
  p = p * z + F(0.133314937);
  p = p * z - F(0.333332837);
  let y = F(1.0) - F(2.0) / (exp(a + a) + F(1.0));
  let r = select(y, a + a * z * p, a < F(0.625));
  return select(select(r, -r, x < F(0.0)), x, is_nan(x));
}
fn asinh_(x: F) -> F {
  let a = abs(x);
  let y = min(a, F(1e9));
  let small = log1p_(y + y * y / (F(1.0) + sqrt(y * y + F(1.0))));
  let r = select(small, log_(a) + F(0.693147181), a > F(1e9));
  return select(select(r, -r, x < F(0.0)), x, is_nan(x));
}
fn acosh_(x: F) -> F {
  let t = min(max(x, F(1.0)), F(1e9)) - F(1.0);
  let r = select(log1p_(t + sqrt(F(2.0) * t + t * t)), log_(x) + F(0.693147181), x > F(1e9));
  return select(r, from_bits(U(0x7fc00000u)), (x < F(1.0)) | is_nan(x));
}
fn atanh_(x: F) -> F {
  let a = abs(x);
  let r = F(0.5) * log1p_((a + a) / (F(1.0) - min(a, F(0.99999994))));
  let y = select(r, from_bits(U(0x7f800000u)), a == F(1.0));
  return select(select(y, -y, x < F(0.0)), from_bits(U(0x7fc00000u)), (a > F(1.0)) | is_nan(x));
}
fn erf_(x: F) -> F {
  let a = min(abs(x), F(4.0));
  let z = a * a;
  var p = F(7.8891193e-5);
  p = p * z - F(0.000802084105);
  p = p * z + F(0.00518953521);
  p = p * z - F(0.0268544443);
  p = p * z + F(0.112836003);
  p = p * z - F(0.376126260);
  p = p * z + F(1.12837911);
  var q = F(2.1686850e-5);
  q = q * a - F(0.000441336364);
  q = q * a + F(0.00420456193);
  q = q * a - F(0.0252082571);
  q = q * a + F(0.108418576);
  q = q * a + F(0.633219898);
  q = q * a + F(1.12957847);
  q = q * a - F(0.000188040212);
  let r = select(F(1.0) - exp(-q), a * p, a < F(1.0));
  return select(select(r, -r, x < F(0.0)), x, is_nan(x));
}

// Whether the candidate (v, i) beats (w, j): NaN beats all, the first of equals wins; or the last.
fn wins_max(v: F, i: I, w: F, j: I) -> B {
  let nv = is_nan(v);
  let nw = is_nan(w);
  return select((v > w) | ((v == w) & (i < j)), nv & (!nw | (i < j)), nv | nw);
}
fn wins_min(v: F, i: I, w: F, j: I) -> B {
  let nv = is_nan(v);
  let nw = is_nan(w);
  return select((v < w) | ((v == w) & (i < j)), nv & (!nw | (i < j)), nv | nw);
}
fn wins_max_last(v: F, i: I, w: F, j: I) -> B {
  let nv = is_nan(v);
  let nw = is_nan(w);
  return select((v > w) | ((v == w) & (i > j)), nv & (!nw | (i > j)), nv | nw);
}
fn wins_min_last(v: F, i: I, w: F, j: I) -> B {
  let nv = is_nan(v);
  let nw = is_nan(w);
  return select((v < w) | ((v == w) & (i > j)), nv & (!nw | (i > j)), nv | nw);
}

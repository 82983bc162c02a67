$# The register tile of matmul and conv: `rows` rows by `vectors` vectors of columns, in three parts.
$#   open   the accumulators, cRV for row R and vector V
$#   run    for k < length: cRV += a_R[k] * w[k * 8 ...]; w moves on, panels lie `panel_size` apart
$#   close  the stores of rows m0 + 0 ... below m_end, columns panel * 8 ... below N
$# With `dot`, for four columns at most, each accumulator belongs to one row and one column, and the lanes lie along
$# k: no lane idles. w is then [column][K]. With `computed`, the columns are computed where they are used, and w is not read.
$assert rows * vectors <= 12
$let columns = vectors if dot else 4 * vectors
$if part == "open":
  $for r in range(rows):
    f4 ${", ".join(f"c{r}{v} = S(0.0f)" for v in range(vectors))};
$elif part == "run" and dot:
  {
    int k = 0;
    for (; k + 4 <= length; k += 4) {
      $for v in range(vectors):
        const f4 w${v} = LD(w + ${v} * K + k);
      $for r in range(rows):
        { const f4 a = LD(a_${r} + k);
          ${" ".join(f"c{r}{v} = MADD(a, w{v}, c{r}{v});" for v in range(vectors))} }
    }
    for (; k < length; k++) {
      $for v in range(vectors):
        const f4 w${v} = {w[${v} * K + k]};
      $for r in range(rows):
        { const f4 a = {a_${r}[k]};
          ${" ".join(f"c{r}{v} = MADD(a, w{v}, c{r}{v});" for v in range(vectors))} }
    }
    w += length;
  }
$elif part == "run":
  for (int k = 0; k < length; k++) {
    $for v in range(vectors):
      ${columns_of(v) if computed else pointed(v)}
    $for r in range(rows):
      { const f4 a = S(a_${r}[k]);
        ${" ".join(f"c{r}{v} = MADD(a, w{v}, c{r}{v});" for v in range(vectors))} }
    $if not computed:
      w += 8;
  }
$elif dot:
  float t[${rows * columns}];
  $for r in range(rows):
    ${" ".join(f"t[{r * columns + v}] = SUM(c{r}{v});" for v in range(vectors))}
  #pragma clang loop unroll(disable)
  for (int r = 0; r < ${rows} && m0 + r < m_end; r++) {
    const int m = m0 + r;
    ${coordinates}
    $for v in range(vectors):
      { const int n = ${v}; const float acc = t[r * ${columns} + ${v}];
        ${scalar_stores} }
  }
$else:
  $let flat = [f"c{r}{v}" for r in range(rows) for v in range(vectors)]
  $let side = min(rows, vectors)
  if (panel * 8 + ${columns} <= N) {
    $if not heavy:
      $for r in range(rows):
        if (m0 + ${r} < m_end) {
          const int m = m0 + ${r};
          ${coordinates}
          $for v in range(vectors):
            { const int n = panel * 8 + ${4 * v}; const f4 acc = c${r}${v};
              ${vector_stores} }
        }
    $else:
      // The accumulators move on to the first places, so that the text is there but once.
      #pragma clang loop unroll(disable)
      for (int q = 0; q < ${rows * vectors} && m0 + q / ${vectors} < m_end; q += ${side}) {
        const int m = m0 + q / ${vectors};
        ${coordinates}
        $for v in range(side):
          { const int n = panel * 8 + q % ${vectors} * 4 + ${4 * v}; const f4 acc = ${flat[v]};
            ${vector_stores} }
        ${" ".join(f"{a} = {b};" for a, b in zip(flat, flat[side:]))}
      }
  } else {
    float t[${rows * columns}];
    $for r in range(rows):
      ${" ".join(f"ST(t + {(r * vectors + v) * 4}, c{r}{v});" for v in range(vectors))}
    for (int r = 0; r < ${rows} && m0 + r < m_end; r++) {
      const int m = m0 + r;
      ${coordinates}
      $if heavy:
        #pragma clang loop unroll(disable)
      for (int n = panel * 8, j = r * ${columns}; n < N && j < (r + 1) * ${columns}; n++, j++) {
        const float acc = t[j];
        ${scalar_stores}
      }
    }
  }

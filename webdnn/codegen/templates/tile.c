$# The register tile of matmul and conv: ${rows} rows by ${8 * panels} columns, in three parts.
$#   open   the accumulators, cRV for row R and vector V
$#   run    for k < length: cRV += a_R[k] * w[k * 8 ...]; w moves on, panels lie `panel_size` apart
$#   close  the stores of rows m0 + 0 ... below m_end, columns panel * 8 ... below N
$assert rows * panels * 2 <= 8
$if part == "open":
  $for r in range(rows):
    f4 ${", ".join(f"c{r}{v} = S(0.0f)" for v in range(2 * panels))};
$elif part == "run":
  for (int k = 0; k < length; k++) {
    $for v in range(2 * panels):
      const f4 w${v} = LD(w + ${v // 2} * panel_size + ${v % 2 * 4});
    $for r in range(rows):
      { const f4 a = S(a_${r}[k]);
        ${" ".join(f"c{r}{v} = MADD(a, w{v}, c{r}{v});" for v in range(2 * panels))} }
    w += 8;
  }
$elif not heavy:
  if ((panel + ${panels}) * 8 <= N) {
    $for r in range(rows):
      if (m0 + ${r} < m_end) {
        const int m = m0 + ${r};
        ${coordinates}
        $for v in range(2 * panels):
          { const int n = panel * 8 + ${4 * v}; const f4 acc = c${r}${v};
            ${vector_stores} }
      }
  } else {
    float t[${rows * panels * 8}];
    $for r in range(rows):
      ${" ".join(f"ST(t + {(r * panels * 2 + v) * 4}, c{r}{v});" for v in range(2 * panels))}
    for (int r = 0; r < ${rows} && m0 + r < m_end; r++) {
      const int m = m0 + r;
      ${coordinates}
      for (int n = panel * 8, j = r * ${panels * 8}; n < N && j < (r + 1) * ${panels * 8}; n++, j++) {
        const float acc = t[j];
        ${scalar_stores}
      }
    }
  }
$else:
  float t[${rows * panels * 8}];
  $for r in range(rows):
    ${" ".join(f"ST(t + {(r * panels * 2 + v) * 4}, c{r}{v});" for v in range(2 * panels))}
  for (int r = 0; r < ${rows} && m0 + r < m_end; r++) {
    const int m = m0 + r, columns = vmin(N - panel * 8, ${panels * 8});
    ${coordinates}
    int j = 0;
    #pragma clang loop unroll(disable)
    for (; j + 4 <= columns; j += 4) {
      const int n = panel * 8 + j; const f4 acc = LD(t + r * ${panels * 8} + j);
      ${vector_stores}
    }
    #pragma clang loop unroll(disable)
    for (; j < columns; j++) {
      const int n = panel * 8 + j; const float acc = t[r * ${panels * 8} + j];
      ${scalar_stores}
    }
  }

// matmul_add gemm.Gemm1
OV void matmul_add_7309a58f92_(const float* restrict b0, float* restrict b1, const float* restrict b2, const float* restrict b3, const int* restrict p, int begin, int end, char* restrict scratch) {
  const int p0 = p[0];
  const int p1 = p[1];
  const int p2 = p[2];
  const int p3 = p[3];
  const int p4 = p[4];
  const int p5 = p[5];
  const int p6 = p[6];
  const int N = p1, K = p2, panel_size = K * 8, length = K;
  const int panels = (N + 7) / 8, panel_blocks = (panels + p5 - 1) / p5;
  const int row_blocks = (p0 + p4 - 1) / p4;
  for (int item = begin; item < end; item++) {
    const int rows = DIV(item, panel_blocks), batch = DIV(rows, row_blocks);
    const int m_begin = MOD(rows, row_blocks) * p4, m_end = vmin(m_begin + p4, p0);
    const int panel_begin = MOD(item, panel_blocks) * p5, panel_end = vmin(panel_begin + p5, panels);
    const int batch0 = DIV(batch, p3), batch1 = MOD(batch, p3);
    const int single = (m_end - m_begin) % 4 == 1;
    const float* const weights = b3 + 0;
    for (int panel = panel_begin; panel < panel_end; panel++)
      for (int m0 = m_begin; m0 < m_end - single; m0 += 4) {
        const float* w = weights + panel * panel_size;
        const float* a_0; { const int m = vmin(m0 + 0, m_end - 1); a_0 = b2 + m * 7; }
        const float* a_1; { const int m = vmin(m0 + 1, m_end - 1); a_1 = b2 + m * 7; }
        const float* a_2; { const int m = vmin(m0 + 2, m_end - 1); a_2 = b2 + m * 7; }
        const float* a_3; { const int m = vmin(m0 + 3, m_end - 1); a_3 = b2 + m * 7; }
        f4 c00 = S(0.0f), c01 = S(0.0f);
        f4 c10 = S(0.0f), c11 = S(0.0f);
        f4 c20 = S(0.0f), c21 = S(0.0f);
        f4 c30 = S(0.0f), c31 = S(0.0f);
        for (int k = 0; k < length; k++) {
          const f4 w0 = LD(w + 0 * panel_size + 0);
          const f4 w1 = LD(w + 0 * panel_size + 4);
          { const f4 a = S(a_0[k]);
            c00 = MADD(a, w0, c00); c01 = MADD(a, w1, c01); }
          { const f4 a = S(a_1[k]);
            c10 = MADD(a, w0, c10); c11 = MADD(a, w1, c11); }
          { const f4 a = S(a_2[k]);
            c20 = MADD(a, w0, c20); c21 = MADD(a, w1, c21); }
          { const f4 a = S(a_3[k]);
            c30 = MADD(a, w0, c30); c31 = MADD(a, w1, c31); }
          w += 8;
        }
        if (panel * 8 + 8 <= N) {
          if (m0 + 0 < m_end) {
            const int m = m0 + 0;

            { const int n = panel * 8 + 0; const f4 acc = c00;
              ST(b1 + m * p6 + n, (acc + LD(b0 + n))); }
            { const int n = panel * 8 + 4; const f4 acc = c01;
              ST(b1 + m * p6 + n, (acc + LD(b0 + n))); }
          }
          if (m0 + 1 < m_end) {
            const int m = m0 + 1;

            { const int n = panel * 8 + 0; const f4 acc = c10;
              ST(b1 + m * p6 + n, (acc + LD(b0 + n))); }
            { const int n = panel * 8 + 4; const f4 acc = c11;
              ST(b1 + m * p6 + n, (acc + LD(b0 + n))); }
          }
          if (m0 + 2 < m_end) {
            const int m = m0 + 2;

            { const int n = panel * 8 + 0; const f4 acc = c20;
              ST(b1 + m * p6 + n, (acc + LD(b0 + n))); }
            { const int n = panel * 8 + 4; const f4 acc = c21;
              ST(b1 + m * p6 + n, (acc + LD(b0 + n))); }
          }
          if (m0 + 3 < m_end) {
            const int m = m0 + 3;

            { const int n = panel * 8 + 0; const f4 acc = c30;
              ST(b1 + m * p6 + n, (acc + LD(b0 + n))); }
            { const int n = panel * 8 + 4; const f4 acc = c31;
              ST(b1 + m * p6 + n, (acc + LD(b0 + n))); }
          }
        } else {
          float t[32];
          ST(t + 0, c00); ST(t + 4, c01);
          ST(t + 8, c10); ST(t + 12, c11);
          ST(t + 16, c20); ST(t + 20, c21);
          ST(t + 24, c30); ST(t + 28, c31);
          for (int r = 0; r < 4 && m0 + r < m_end; r++) {
            const int m = m0 + r;

            for (int n = panel * 8, j = r * 8; n < N && j < (r + 1) * 8; n++, j++) {
              const float acc = t[j];
              b1[m * p6 + n] = (acc + b0[n]);
            }
          }
        }
      }
    if (single) {
      const int m0 = m_end - 1, m = m0;
      const float* const a_0 = b2 + m * 7;
      int panel = panel_begin;
      for (; panel + 4 <= panel_end; panel += 4) {
        const float* w = weights + panel * panel_size;
        f4 c00 = S(0.0f), c01 = S(0.0f), c02 = S(0.0f), c03 = S(0.0f), c04 = S(0.0f), c05 = S(0.0f), c06 = S(0.0f), c07 = S(0.0f);
        for (int k = 0; k < length; k++) {
          const f4 w0 = LD(w + 0 * panel_size + 0);
          const f4 w1 = LD(w + 0 * panel_size + 4);
          const f4 w2 = LD(w + 1 * panel_size + 0);
          const f4 w3 = LD(w + 1 * panel_size + 4);
          const f4 w4 = LD(w + 2 * panel_size + 0);
          const f4 w5 = LD(w + 2 * panel_size + 4);
          const f4 w6 = LD(w + 3 * panel_size + 0);
          const f4 w7 = LD(w + 3 * panel_size + 4);
          { const f4 a = S(a_0[k]);
            c00 = MADD(a, w0, c00); c01 = MADD(a, w1, c01); c02 = MADD(a, w2, c02); c03 = MADD(a, w3, c03); c04 = MADD(a, w4, c04); c05 = MADD(a, w5, c05); c06 = MADD(a, w6, c06); c07 = MADD(a, w7, c07); }
          w += 8;
        }
        if (panel * 8 + 32 <= N) {
          if (m0 + 0 < m_end) {
            const int m = m0 + 0;

            { const int n = panel * 8 + 0; const f4 acc = c00;
              ST(b1 + m * p6 + n, (acc + LD(b0 + n))); }
            { const int n = panel * 8 + 4; const f4 acc = c01;
              ST(b1 + m * p6 + n, (acc + LD(b0 + n))); }
            { const int n = panel * 8 + 8; const f4 acc = c02;
              ST(b1 + m * p6 + n, (acc + LD(b0 + n))); }
            { const int n = panel * 8 + 12; const f4 acc = c03;
              ST(b1 + m * p6 + n, (acc + LD(b0 + n))); }
            { const int n = panel * 8 + 16; const f4 acc = c04;
              ST(b1 + m * p6 + n, (acc + LD(b0 + n))); }
            { const int n = panel * 8 + 20; const f4 acc = c05;
              ST(b1 + m * p6 + n, (acc + LD(b0 + n))); }
            { const int n = panel * 8 + 24; const f4 acc = c06;
              ST(b1 + m * p6 + n, (acc + LD(b0 + n))); }
            { const int n = panel * 8 + 28; const f4 acc = c07;
              ST(b1 + m * p6 + n, (acc + LD(b0 + n))); }
          }
        } else {
          float t[32];
          ST(t + 0, c00); ST(t + 4, c01); ST(t + 8, c02); ST(t + 12, c03); ST(t + 16, c04); ST(t + 20, c05); ST(t + 24, c06); ST(t + 28, c07);
          for (int r = 0; r < 1 && m0 + r < m_end; r++) {
            const int m = m0 + r;

            for (int n = panel * 8, j = r * 32; n < N && j < (r + 1) * 32; n++, j++) {
              const float acc = t[j];
              b1[m * p6 + n] = (acc + b0[n]);
            }
          }
        }
      }
      for (; panel + 1 <= panel_end; panel += 1) {
        const float* w = weights + panel * panel_size;
        f4 c00 = S(0.0f), c01 = S(0.0f);
        for (int k = 0; k < length; k++) {
          const f4 w0 = LD(w + 0 * panel_size + 0);
          const f4 w1 = LD(w + 0 * panel_size + 4);
          { const f4 a = S(a_0[k]);
            c00 = MADD(a, w0, c00); c01 = MADD(a, w1, c01); }
          w += 8;
        }
        if (panel * 8 + 8 <= N) {
          if (m0 + 0 < m_end) {
            const int m = m0 + 0;

            { const int n = panel * 8 + 0; const f4 acc = c00;
              ST(b1 + m * p6 + n, (acc + LD(b0 + n))); }
            { const int n = panel * 8 + 4; const f4 acc = c01;
              ST(b1 + m * p6 + n, (acc + LD(b0 + n))); }
          }
        } else {
          float t[8];
          ST(t + 0, c00); ST(t + 4, c01);
          for (int r = 0; r < 1 && m0 + r < m_end; r++) {
            const int m = m0 + r;

            for (int n = panel * 8, j = r * 8; n < N && j < (r + 1) * 8; n++, j++) {
              const float acc = t[j];
              b1[m * p6 + n] = (acc + b0[n]);
            }
          }
        }
      }
    }
  }
}
__attribute__((weak)) void matmul_add_7309a58f92(void* const* buffers, const int* p, int begin, int end, char* scratch) {
  matmul_add_7309a58f92_(buffers[0], buffers[1], buffers[2], buffers[3], p, begin, end, scratch);
}
